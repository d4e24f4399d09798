"""Poses of images and videos: detection, prediction, tracking and output."""
