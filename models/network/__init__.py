"""Backbone and head, image preparation, numeric precision."""
