"""Whether served traffic still looks like the training data."""
