"""The command line `hone`: parses, calls a flow or a report, prints, sets the exit code."""

from flows.cli.entry import app, main

__all__ = ["app", "main"]
