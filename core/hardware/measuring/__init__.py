"""Measuring layers and networks on this machine through onnxruntime. No torch."""
