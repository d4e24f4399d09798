"""Codecs: keypoints to training targets, and network outputs to keypoints."""
