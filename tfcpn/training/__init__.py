"""Training: augmentation, the step, and the trainer."""
