"""Synthetic people: bodies in three dimensions, drawn into images with exact annotations."""
