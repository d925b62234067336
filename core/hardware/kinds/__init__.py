"""The kinds of accelerator, one file each."""
