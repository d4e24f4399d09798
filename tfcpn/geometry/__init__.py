"""Regions of an image, where a person's alignment points are, and the way between image and crop."""
