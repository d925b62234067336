"""What a network is for: loss and metric of each learning task."""
