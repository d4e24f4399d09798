"""Poses of pictures and videos that nobody has annotated: who is there, read by a network, followed and drawn."""
