"""Accelerators, targets and cost tables. No torch."""
