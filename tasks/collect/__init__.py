"""Tasks of the flow collect-labels."""
