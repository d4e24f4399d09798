"""Augmentation, one step, and the loop over epochs."""
