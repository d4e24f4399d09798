"""What tools/benchmark.py measures, and the original's way of doing it."""

import tfcpn  # noqa: F401  (quietens TensorFlow, which the modules here import first)
