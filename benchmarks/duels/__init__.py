"""The parts of benchmarks/verdicts.py."""
