"""Validation people, estimated keypoints, and their score."""
