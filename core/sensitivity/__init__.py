"""What fewer bits cost in loss: one file per metric."""
