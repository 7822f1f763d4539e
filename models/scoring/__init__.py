"""Predictions for a pool of samples."""
