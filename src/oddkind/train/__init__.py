"""Training networks: the only package that needs torch."""
