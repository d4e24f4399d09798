"""Helpers without knowledge of poses: errors, files, devices, console output."""
