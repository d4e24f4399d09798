"""Validation sets, estimated keypoints, and their metrics."""
