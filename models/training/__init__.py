"""The training loop and its tracking in Weights & Biases."""
