"""Test oracles: slow, simple programs that fast code is checked against and timed beside."""
