"""The story of the loop: one file per flow, read top to bottom."""
