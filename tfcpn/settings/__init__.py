"""Flags, and the frozen Config that they become; the commands' help and errors. Nothing else knows absl."""
