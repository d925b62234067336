"""Quantizers: one file per published method, one registry."""
