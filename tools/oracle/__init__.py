"""Test oracles: the slow programs, easy to check by eye, that the fast code is proven against and timed beside."""
