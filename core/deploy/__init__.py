"""Exports, and the proof that each equals what was trained."""
