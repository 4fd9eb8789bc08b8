"""Experiments that measure how well detectors work, and help to choose one."""
