"""Bit-width search: one file per strategy. No torch."""
