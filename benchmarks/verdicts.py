"""Do verdicts keep their promise, and what do they cost? Simulated lives and real networks.

    python benchmarks/verdicts.py lives|not-worse|answers|noise|coverage|drift|classes [--lives N]
    python benchmarks/verdicts.py real [CIFAR10.zip] [--cache DIR]

* lives: how many of 2,000 workspaces promote, in 20 rounds, a challenger that is no better.
* not-worse: the same promise in that mode, about challengers that lose the margin.
* answers: how many answers a better challenger takes, and how many audit rows by McNemar's test.
* noise: how good the champion is after 20 challengers that vary by chance alone.
* coverage: whether the accuracy that is shown is right after 20 rounds of choosing and promoting.
* drift: a champion that fails on the traffic of today.
* classes: a class that falls while the others rise, and what is held without reason.
* real: pairs of networks on scikit-learn's digits and, with a source, on images of your own
  (a ZIP or a folder `<class>/<file>`); what the networks answer is kept in `--cache`.

One line of JSON for each row with --json.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.duels import classes, coverage, drift, lives, real  # noqa: E402

Rows = Iterator[dict[str, Any]]


def main() -> None:
    """Run one section and print its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("source", type=Path, nargs="?", help="images for the section `real`")
    parser.add_argument("--lives", type=int, default=2000)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for row in SECTIONS[given.section](given):
        print(json.dumps(row) if given.json else _line(row), flush=True)


def _line(row: dict[str, Any]) -> str:
    words = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
    return "  ".join(f"{name} {word}" for name, word in zip(row, words, strict=True))


def _coverage(given: argparse.Namespace) -> Rows:
    for pool in (1_000, 10_000):
        for truth in (0.7, 0.9):
            yield coverage.shown_accuracy(pool, truth, given.lives)


def _drift(given: argparse.Namespace) -> Rows:
    for number in (1, 5):
        for traffic in drift.TRAFFIC:
            for pool in drift.POOL:
                yield drift.drifted_traffic(pool, traffic, number, given.lives)


def _real(given: argparse.Namespace) -> Rows:
    stored = {"digits": real.digits(given.cache)}
    if given.source:
        stored["pictures"] = real.pictures(given.source, given.cache)
    for name, answers in stored.items():
        for number in (1, 10):
            for row in real.duels_of(answers, number):
                yield {"images": name, "number": number, **row}


SECTIONS = {
    "lives": lambda given: lives.wrong_promotions(given.lives),
    "not-worse": lambda given: lives.not_worse(given.lives),
    "answers": lambda given: lives.answers_needed(given.lives),
    "noise": lambda given: lives.retraining_noise(given.lives),
    "coverage": _coverage,
    "classes": lambda given: classes.fallen_classes(given.lives),
    "drift": _drift,
    "real": _real,
}

if __name__ == "__main__":
    main()
