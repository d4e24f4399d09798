"""What tools/report.py puts beside the runs."""
