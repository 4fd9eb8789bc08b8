"""Data sets on disk: from listing files to verdicts about them. Needs no torch."""
