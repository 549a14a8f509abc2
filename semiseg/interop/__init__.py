"""Other people's files: PyTorch checkpoints, published networks and their names."""
