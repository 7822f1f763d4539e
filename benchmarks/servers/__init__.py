"""The servers that `benchmarks/serving.py` compares, their client and their model."""
