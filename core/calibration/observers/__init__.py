"""Observers: how the range of a tensor, or of each channel, is chosen from what was seen of it. One file each."""
