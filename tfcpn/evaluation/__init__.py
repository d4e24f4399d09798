"""Validation people, estimated joints, and their score."""
