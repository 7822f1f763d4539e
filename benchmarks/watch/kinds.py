"""How often the kind of a planted drift is told right, with 500 rows and 50 outcomes."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.watch.estimate import (
    OUTCOMES,
    REFERENCE,
    WINDOW,
    joined,
    mixed,
    swapped,
    with_truths,
)
from benchmarks.watch.features import Pool
from core.image_statistics import STATISTICS
from models.watching.drift_kinds import DriftKind, kind_of_drift
from models.watching.outcome_signals import Judged
from models.watching.signals import WatchPolicy, Window

POLICY = WatchPolicy()
PARTS = (0.3, 1.0)  # of the window that has a covariate shift
Planted = tuple[Window, Window, np.ndarray]  # reference, window and the truths of its rows
Plant = Callable[[Pool, np.random.Generator], Planted]


def measure(pool: Pool, given: argparse.Namespace) -> None:
    """Print a line for each row."""
    for row in rows(pool, given.lives):
        print("  ".join(f"{name} {_word(value)}" for name, value in row.items()), flush=True)


def _word(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def rows(pool: Pool, lives: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The share that is told right of each planted drift and of each kind, and what else it is."""
    of_kind: dict[DriftKind, list[float]] = {}
    for kind, name, plant in planted(pool):
        answers = Counter(_told(pool, plant, seed + life) for life in range(lives))
        of_kind.setdefault(kind, []).append(answers[kind] / lives)
        others = ", ".join(f"{other} {n}" for other, n in answers.items() if other != kind)
        yield {"planted": str(kind), "drift": name, "right": answers[kind] / lives, "else": others}
    for kind, shares in of_kind.items():
        yield {"planted": str(kind), "drift": "all", "right": float(np.mean(shares))}
    every = [share for shares in of_kind.values() for share in shares]
    yield {"planted": "all", "drift": "all", "right": float(np.mean(every))}


def planted(pool: Pool) -> Iterator[tuple[DriftKind, str, Plant]]:
    """Every drift with its kind and how it is planted."""
    for change in with_truths(pool):
        for part in PARTS:
            yield DriftKind.COVARIATE, f"{change} {part:.0%}", _covariate(change, part)
    for classes in (3, 5, 7):
        yield DriftKind.PRIOR, f"{classes} of 10 classes", _prior(classes, 0.0)
    yield DriftKind.PRIOR, "2 classes 5 times as often", _prior(2, 0.2)
    for pairs in (2, 3, 5):
        yield DriftKind.CONCEPT, f"{pairs} pairs of classes swap names", _concept(pairs)
    yield DriftKind.INSTRUMENTATION, "4 % broken", _broken
    yield DriftKind.INSTRUMENTATION, "another format 5 %", _format
    for change in ("crop", "noise", "bright"):
        yield DriftKind.INSTRUMENTATION, f"one camera of four: {change}", _camera(change)


def _told(pool: Pool, plant: Plant, seed: int) -> DriftKind:
    rng = np.random.default_rng(seed)
    reference, window, truths = plant(pool, rng)
    at = rng.permutation(np.flatnonzero(truths >= 0))[:OUTCOMES]
    judged = Judged(window.outputs[at], truths[at], np.ones(len(at), bool), at)
    return kind_of_drift(reference, window, policy=POLICY, rng=rng, judged=judged).kind


def _covariate(change: str, part: float) -> Plant:
    def plant(pool: Pool, rng: np.random.Generator) -> Planted:
        return _with_truths(*mixed(pool, change, part, rng))

    return plant


def _prior(classes: int, others: float) -> Plant:
    """Some classes, and the others with a weight of `others` to one of theirs."""

    def plant(pool: Pool, rng: np.random.Generator) -> Planted:
        order = rng.permutation(len(pool.clean))
        cut = min(REFERENCE, len(order) // 2)
        reference, rest = pool.clean.take(order[:cut]), pool.clean.take(order[cut:])
        assert rest.labels is not None
        chosen = rng.choice(rest.outputs.shape[1], classes, replace=False)
        weights = np.where(np.isin(rest.labels, chosen), 1.0, others)
        size = min(WINDOW, int((weights > 0).sum()))
        drawn = rng.choice(len(rest), size, replace=False, p=weights / weights.sum())
        return _with_truths(reference, rest.take(drawn))

    return plant


def _concept(pairs: int) -> Plant:
    def plant(pool: Pool, rng: np.random.Generator) -> Planted:
        reference, window, truths = _with_truths(*mixed(pool, "clean", 0.0, rng))
        return reference, window, swapped(truths, window.outputs.shape[1], pairs, rng)

    return plant


def _broken(pool: Pool, rng: np.random.Generator) -> Planted:
    reference, window, truths = _with_truths(*mixed(pool, "clean", 0.0, rng))
    return reference, replace(window, broken=len(window) // 25), truths


def _format(pool: Pool, rng: np.random.Generator) -> Planted:
    reference, window, truths = _with_truths(*mixed(pool, "clean", 0.0, rng))
    statistics = window.statistics.copy()
    statistics[: len(window) // 20, STATISTICS.index("format")] += 1
    return reference, replace(window, statistics=statistics), truths


def _camera(change: str) -> Plant:
    def plant(pool: Pool, rng: np.random.Generator) -> Planted:
        reference, window = mixed(pool, "clean", 0.0, rng)
        quarter, shifted = len(window) // 4, pool.shifted[change]
        faulty = shifted.take(rng.permutation(len(shifted))[:quarter])
        both = joined(window.take(np.arange(len(window) - quarter)), faulty)
        sources = np.repeat(["hall", "gate", "yard", "roof"], -(-len(both) // 4))[-len(both) :]
        return _with_truths(reference, replace(both, sources=sources))

    return plant


def _with_truths(reference: Window, window: Window) -> Planted:
    assert window.labels is not None
    return reference, replace(window, labels=None), window.labels
