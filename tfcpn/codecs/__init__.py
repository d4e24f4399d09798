"""Keypoints to what a network puts out, and back."""
