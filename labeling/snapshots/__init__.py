"""Settled labels frozen as DVC-versioned tables."""
