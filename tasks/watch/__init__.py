"""Tasks of the flow watch-traffic."""
