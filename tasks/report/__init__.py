"""Reports on annotators, budget and batches: for the terminal, for Prefect and as files."""
