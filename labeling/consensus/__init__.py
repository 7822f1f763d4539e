"""Many answers, one label, or "ask again"."""
