"""Networks as values: how each is built, what it sees, its losses, and the weights that come in."""
