"""From a strategy's proposal to a batch: audit, random draws, quotas, duplicates, gold."""
