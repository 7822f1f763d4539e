"""Ways in which labels are scarce: what may be chosen from, and how many labels there may be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ASIDE = 5_000  # images of the pool's side kept for development: in no pool, in no reported test
COPIES = 10
IMBALANCE = 100
MOST = 0.8  # of a small pool that may be labelled


@dataclass(frozen=True)
class Regime:
    """The numbers of labels at which accuracy is read; the first are drawn at random for all."""

    name: str
    steps: tuple[int, ...]
    pool: int  # images, of which `redundant` has COPIES each; 0: as many as there are
    beyond: tuple[int, ...] = ()  # more steps, for random choice with a plain head only
    marks: tuple[int, ...] = ()  # steps at which the product's learner is trained, too


def _steps(start: int, batch: int, budget: int) -> tuple[int, ...]:
    return tuple(range(start, budget + 1, batch))


REGIMES = (
    Regime("low", _steps(0, 10, 200), pool=10_000),
    Regime("mid", _steps(100, 100, 2_500), pool=20_000),
    Regime("longtail", _steps(100, 50, 1_300), pool=0),  # as many as the tail leaves
    Regime("redundant", _steps(100, 50, 1_000), pool=1_500),
    Regime(
        "loop",  # from the first label on, for choosing and learning together
        (0, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 2_500),
        pool=10_000,
        beyond=(3_500, 5_000, 6_500, 8_000),
        marks=(20, 50, 200, 2_500),
    ),
)


@dataclass(frozen=True)
class DataSet:
    """Features of all images of a set: the pool's side, the test, and near copies of images."""

    features: np.ndarray  # float32 [n, width], the pool's side
    classes: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray
    copies: np.ndarray  # [images, COPIES, width]
    copied: np.ndarray  # [images]: their rows in `features`


@dataclass(frozen=True)
class Problem:
    """What one seed draws: a pool to choose from, its first labels, and the test."""

    features: np.ndarray
    classes: np.ndarray
    test_features: np.ndarray
    test_classes: np.ndarray
    start: np.ndarray  # rows that are labelled before anyone chooses
    steps: tuple[int, ...]
    beyond: tuple[int, ...]
    marks: tuple[int, ...]

    @property
    def class_count(self) -> int:
        """How many classes there are, in the pool or not."""
        return int(self.test_classes.max()) + 1


def problem_of(data: DataSet, regime: Regime, seed: int) -> Problem | None:
    """The pool that this seed draws and its first labels; None if the set is too small for it."""
    rng = np.random.default_rng([seed, 7])
    if regime.name == "redundant":
        drawn = np.sort(rng.permutation(len(data.copied))[: regime.pool])
        features = data.copies[drawn].reshape(-1, data.features.shape[1])
        classes = np.repeat(data.classes[data.copied[drawn]], COPIES)
        most = len(drawn)
    else:
        rows = _tail(data, rng) if regime.name == "longtail" else np.arange(len(data.classes))
        rows = np.sort(rng.permutation(rows)[: regime.pool or None])
        features, classes, most = data.features[rows], data.classes[rows], len(rows)
    steps, beyond = (_within(part, most) for part in (regime.steps, regime.beyond))
    if len(steps) < 2:
        return None
    start = rng.permutation(len(classes))[: steps[0]]
    test = data.test_features, data.test_classes
    return Problem(features, classes, *test, start, steps, beyond, regime.marks)


def _within(steps: Sequence[int], images: int) -> tuple[int, ...]:
    return tuple(step for step in steps if step <= MOST * images)


def _tail(data: DataSet, rng: np.random.Generator) -> np.ndarray:
    """Rows of which the commonest class has IMBALANCE times as many as the rarest."""
    classes = data.classes.max() + 1
    most = np.bincount(data.classes).min()
    counts = (most * IMBALANCE ** (-np.arange(classes) / (classes - 1))).astype(int)
    rows = []
    for name, count in zip(rng.permutation(classes), counts, strict=True):
        rows.append(rng.permutation(np.flatnonzero(data.classes == name))[: max(count, 1)])
    return np.concatenate(rows)
