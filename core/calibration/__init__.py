"""Observers and the one calibration pass."""
