"""Pixels: decoding, cropping, normalization, flipping."""
