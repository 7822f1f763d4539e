"""How good is the labelling operation: its consensus, its exchange with Label Studio, its reviews?

    .venv/bin/python benchmarks/annotators.py [crowds] [exchange] [label_errors]

Runs the parts named, or all three. Each is a benchmark of its own with options of its own:
`.venv/bin/python benchmarks/crowds.py --help`.
"""

import argparse
import sys
from importlib import import_module

PARTS = ("crowds", "exchange", "label_errors")


def main() -> None:
    """Run each part that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    asked = parser.parse_args().parts
    if unknown := sorted(set(asked) - set(PARTS)):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    del sys.argv[1:]  # the parts have other options; here they take their defaults
    for part in asked or PARTS:
        print(f"== {part}", flush=True)
        import_module(part).main()


if __name__ == "__main__":
    main()
