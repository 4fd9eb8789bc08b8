"""Experiments: how well detectors work, and which one to choose."""
