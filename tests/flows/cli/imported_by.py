"""Runs `hone` with these words, then prints which large packages it imported."""

import sys

from flows.cli import main

LARGE = {"prefect", "torch", "wandb", "bentoml", "alibi_detect", "label_studio_sdk"}

try:
    main()
except SystemExit as done:
    print(f"exit {done.code or 0}", file=sys.stderr)
print("imported", *sorted(LARGE & set(sys.modules)), file=sys.stderr)
