"""The tables of samples, rounds, assignments, answers and labels, and the queries on them."""
