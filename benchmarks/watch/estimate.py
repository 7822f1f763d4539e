"""How often later truth lies in the interval of the accuracy that was estimated without it."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.watch.features import Pool
from core.image_statistics import STATISTICS
from models.judging.corruptions import MOST_ROWS
from models.watching.accuracy_estimate import estimate_accuracy
from models.watching.outcome_signals import Judged
from models.watching.signals import WatchPolicy, Window
from models.watching.unseen_loss import Copies

REFERENCE, WINDOW, OUTCOMES = 1000, 500, 50
PARTS = (0.1, 0.3, 1.0)  # of the window that is shifted
POLICY = WatchPolicy()


def measure(pool: Pool, given: argparse.Namespace) -> None:
    """Print a line for each row."""
    for row in rows(pool, given.lives):
        print("  ".join(f"{name} {_word(value)}" for name, value in row.items()), flush=True)


def _word(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def rows(pool: Pool, lives: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Coverage and answers by shift and part, over all shifts, and under concept change."""
    changes = ["clean", *with_truths(pool)]
    covered: list[float] = []
    for number, change in enumerate(changes):
        for part in PARTS if change != "clean" else (0.0,):
            own = 1000 * number + round(100 * part)  # no two cells have the same images
            made = [_life(pool, change, part, [seed + life, own]) for life in range(lives)]
            answered = [one for one in made if one is not None]
            held = [low <= truth <= high for low, high, truth in answered]
            covered += held
            yield {
                "change": change, "part": part, "answered": len(answered) / lives,
                "covered": float(np.mean(held)) if held else None,
                "width": float(np.mean([one[1] - one[0] for one in answered])) if held else None,
            }  # fmt: skip
    share = float(np.mean(covered)) if covered else None
    yield {"change": "all", "answered": len(covered), "covered": share}
    silent = [_concept(pool, seed + life) for life in range(lives * 3)]
    yield {"change": "concept", "silent": float(np.mean(silent)), "windows": len(silent)}


def with_truths(pool: Pool) -> list[str]:
    """The changes after which images have their classes; grey images are not made grey."""
    colourless = (pool.clean.statistics[:, STATISTICS.index("grey")] == 1).all()
    return [
        name
        for name, side in pool.shifted.items()
        if _labels(side).min() >= 0 and not (colourless and name == "grey")
    ]


def mixed(pool: Pool, change: str, part: float, rng: np.random.Generator) -> tuple[Window, Window]:
    """A reference of clean images, and a window of others of which a part is shifted."""
    reference, _, window = drawn(pool, change, part, rng)
    return reference, window


def drawn(
    pool: Pool, change: str, part: float, rng: np.random.Generator
) -> tuple[Window, Copies, Window]:
    """The reference, corrupted copies of some of its images, and the window."""
    order = rng.permutation(len(pool.clean))
    cut = min(REFERENCE, len(order) // 2)
    reference, rest = pool.clean.take(order[:cut]), order[cut:]
    size = min(WINDOW, len(rest))
    count = round(part * size)
    clean = pool.clean.take(rest[: size - count])
    copies = copies_of(pool, order[:cut])
    if not count:
        return reference, copies, clean
    shifted = pool.shifted[change]
    mixture = joined(clean, shifted.take(rng.permutation(len(shifted))[:count]))
    return reference, copies, mixture


def copies_of(pool: Pool, rows: np.ndarray) -> Copies:
    """Those of the first hundred images of a reference of which the pool has them."""
    copied = len(next(iter(pool.copies.values())))
    places = np.flatnonzero(rows < copied)[:MOST_ROWS]
    sides = {kind: side.take(rows[places]) for kind, side in pool.copies.items()}
    return Copies(
        places,
        {kind: side.outputs for kind, side in sides.items()},
        {kind: side.embeddings for kind, side in sides.items()},
    )


def joined(one: Window, other: Window) -> Window:
    """The rows of both."""
    views = ("outputs", "embeddings", "statistics")
    arrays = [np.concatenate([getattr(side, view) for side in (one, other)]) for view in views]
    return Window.of(*arrays, labels=np.concatenate([_labels(one), _labels(other)]))


def _life(
    pool: Pool, change: str, part: float, seed: list[int]
) -> tuple[float, float, float] | None:
    rng = np.random.default_rng(seed)
    reference, copies, window = drawn(pool, change, part, rng)
    estimate = estimate_accuracy(reference, window, policy=POLICY, rng=rng, copies=copies)
    if estimate.low is None or estimate.high is None:
        return None
    truth = float((window.outputs.argmax(axis=1) == _labels(window)).mean())
    return estimate.low, estimate.high, truth


def _concept(pool: Pool, seed: int) -> bool:
    """Whether there is no estimate once two pairs of classes have changed their names."""
    rng = np.random.default_rng(seed)
    reference, copies, window = drawn(pool, "clean", 0.0, rng)
    truths = swapped(_labels(window), window.outputs.shape[1], 2, rng)
    at = rng.permutation(len(window))[:OUTCOMES]
    judged = Judged(window.outputs[at], truths[at], np.ones(len(at), bool), at)
    estimate = estimate_accuracy(
        reference, window, policy=POLICY, rng=rng, judged=judged, copies=copies
    )
    return estimate.value is None


def swapped(labels: np.ndarray, classes: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """The labels after so many pairs of classes have changed their names."""
    names = np.arange(classes)
    drawn = rng.permutation(classes)[: 2 * pairs].reshape(-1, 2)
    names[drawn[:, 0]], names[drawn[:, 1]] = drawn[:, 1], drawn[:, 0]
    return np.asarray(names[labels])


def _labels(window: Window) -> np.ndarray:
    assert window.labels is not None
    return window.labels
