"""What people read: reports on annotators, budget and batches."""
