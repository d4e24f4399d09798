"""Annotations and records in, results out; who is trained on, in which order, cut by whom."""
