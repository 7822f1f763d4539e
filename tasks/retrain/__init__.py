"""Tasks of the flow retrain."""
