"""Embeddings before there is a trained model."""
