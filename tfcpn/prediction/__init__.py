"""Poses of images and videos that nobody has annotated: who is there, read by a network, followed and drawn."""
