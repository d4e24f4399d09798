"""Test oracles: slow, simple programs that fast code is checked and timed against."""
