"""Policies and grids in the formats of other tools: HAQ, HAWQ, AIMET, TensorRT. The readers know no torch."""
