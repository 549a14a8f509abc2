"""Checkpoints: one file, a run's files, and what does not fit."""
