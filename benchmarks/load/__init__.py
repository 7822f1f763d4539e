"""The parts of `python benchmarks/load_run.py`: client, server, faults, and what must hold."""
