"""Data sets: readers, transforms, splits. No torch, but for `synthetic`, where images are made."""
