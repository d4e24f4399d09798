"""What tools/benchmark.py measures, and the original's way of doing it."""
