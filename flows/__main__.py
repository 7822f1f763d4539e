"""`python -m flows` is the command `hone`."""

from flows.cli import main

main()
