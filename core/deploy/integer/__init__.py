"""Integer-only inference: a network as operations on integers, an executor without floats, and what it must equal."""
