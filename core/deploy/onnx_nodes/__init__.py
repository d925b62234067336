"""ONNX nodes from the calls of a torch.fx graph: one small function per kind of call."""
