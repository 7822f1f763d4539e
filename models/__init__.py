"""What the machine says: torch and numpy in and out; no Prefect."""
