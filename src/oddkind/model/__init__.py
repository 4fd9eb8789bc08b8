"""A fitted model: all that it takes to score, decide and explain. NumPy is all it needs."""
