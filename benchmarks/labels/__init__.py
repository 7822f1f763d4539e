"""What `benchmarks/label_efficiency.py` measures, and how: sets, regimes, peers, report."""
