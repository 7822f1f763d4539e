"""One file a change; a change that has landed is never edited."""
