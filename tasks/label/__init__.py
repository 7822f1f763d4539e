"""Tasks of the flows label-round and review-labels."""
