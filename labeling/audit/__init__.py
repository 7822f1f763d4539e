"""The standing audit: groups of near-duplicates drawn for ever by a keyed number of their own."""
