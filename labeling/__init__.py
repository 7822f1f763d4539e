"""What people said about samples: numpy and pandas in, numpy and pandas out; no Prefect."""
