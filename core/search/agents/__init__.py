"""What searching agents learn with: environments without torch, and networks that are imported only when they run."""
