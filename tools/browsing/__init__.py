"""The page of tools/browse.py and what it shows."""
