"""Files become samples: reading, cleaning, near-duplicates."""
