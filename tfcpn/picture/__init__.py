"""Pixels: decoded, cut out, normalised, mirrored."""
