"""A model file becomes a torch.fx graph of ordinary modules, with its inventory and the places of its quantizers."""
