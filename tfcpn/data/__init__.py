"""Annotations, image files, records, and the input pipeline."""
