"""Fleets: a model for each of many machines, in one file."""
