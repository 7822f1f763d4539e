"""Rows, models and evidence made up for the tests of the gate: who is right where is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.intervals import Interval
from models.judging.gate_evidence import POOL, Evidence, Judged, Rows, Scored
from models.judging.speed import Speed

CLASSES = ("cat", "dog", "eel")
SPEED = Speed(
    p50_ms=8.0, p95_ms=10.0, p95_low_ms=9.0, p95_high_ms=11.0, size_mb=5.0, runs=60, runtime="torch"
)
ROBUST = {kind: Interval(0.01, -0.05, 0.07, 300) for kind in ("all", "noise", "blur")}


def outputs(truths: Sequence[str], right: np.ndarray, sure: float = 0.8) -> np.ndarray:
    """Probabilities that are right on the rows told, and else on the next class."""
    numbers = np.array([CLASSES.index(truth) for truth in truths], int) + ~right
    each = sure - 0.01 * np.random.default_rng(len(truths)).random(len(truths))
    probs = np.repeat((1 - each[:, None]) / 2, 3, axis=1)
    probs[np.arange(len(truths)), numbers % 3] = each
    return probs


def rows(
    count: int,
    challenger: Collection[int],
    champion: Collection[int] | None,
    *,
    name: str = "row",
    slices: Mapping[str, Sequence[str | None]] | None = None,
    truths: Sequence[str] | None = None,
) -> Rows:
    """Truths in turn, and each model wrong on the rows named, and as confident as it is right."""
    labels = tuple(truths or (CLASSES[number % 3] for number in range(count)))
    ids = tuple(f"{name}-{number}" for number in range(count))

    def scored(wrong: Collection[int], more: float) -> Scored:
        right = ~np.isin(np.arange(count), list(wrong))
        return Scored(ids, outputs(labels, right, more + float(np.clip(right.mean(), 0.4, 0.98))))

    return Rows(
        sample_ids=ids,
        group_ids=ids,
        truths=labels,
        challenger=scored(challenger, 0.005),
        champion=None if champion is None else scored(champion, 0.0),
        slices=slices or {},
    )


def case(pool: Rows, **changes: Any) -> Evidence:
    """Evidence from the rows of the pool, with nothing else that is missing or bad."""
    champion = None if pool.champion is None else Judged("hone:1", frozenset({"old"}), SPEED)
    evidence = Evidence(
        challenger=Judged("hone:2", frozenset({"old", "new"}), SPEED),
        champion=champion,
        classes=CLASSES,
        rows={POOL: pool},
        held_out=frozenset({"gold"}),
        robustness=ROBUST,
    )
    return replace(evidence, **changes)


def better(**changes: Any) -> Evidence:
    """A true improvement: 15 of 300 rows wrong, the champion wrong on 60."""
    return case(rows(300, range(15), range(60)), **changes)
