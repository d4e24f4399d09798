"""Regions, alignment points and the maps between image and crop."""
