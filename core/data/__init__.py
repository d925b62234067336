"""Data sets: readers, transforms, splits. No torch."""
