"""One static HTML page of a workspace: what stands in it is escaped, drawn and bounded here."""
