"""Simulated traffic: images of four classes whose embeddings, outputs and statistics agree."""

from collections.abc import Callable
from typing import Any

import numpy as np

from core.image_statistics import STATISTICS
from models.watching.evidence import combine
from models.watching.groups import groups_of
from models.watching.martingale import martingale
from models.watching.signals import WatchPolicy, Window

CLASSES, WIDTH = 4, 12
POLICY = WatchPolicy()
Draw = Callable[[np.random.Generator], Window]
MEANS = np.random.default_rng(5).normal(size=(CLASSES, WIDTH))
CAUSES = np.random.default_rng(6).normal(size=(WIDTH, len(STATISTICS))) / 3


def images(
    labels: np.ndarray, rng: np.random.Generator, *, brighter: float = 0.0, width: int = WIDTH
) -> Window:
    """Images of these classes, a share of which may be brighter by a deviation."""
    rows = len(labels)
    embeddings = MEANS[labels] + rng.normal(size=(rows, WIDTH))
    odds = np.exp(-((embeddings[:, None] - MEANS) ** 2).sum(axis=2) / 2)
    outputs = odds / odds.sum(axis=1, keepdims=True)
    statistics = embeddings @ CAUSES + rng.normal(size=(rows, len(STATISTICS)))
    statistics[:, 0] += brighter
    return Window.of(
        outputs.astype(np.float32),
        embeddings[:, :width].astype(np.float32),
        statistics.astype(np.float32),
        labels=labels,
    )


def clean(rows: int, rng: np.random.Generator, **more: Any) -> Window:
    """Images of all classes alike."""
    return images(rng.integers(CLASSES, size=rows), rng, **more)


def ordered(rows: int, rng: np.random.Generator) -> Window:
    """Images of one or two classes, as they come in an hour."""
    return images(rng.choice(rng.choice(CLASSES, 2), size=rows), rng)


def video(rows: int, rng: np.random.Generator) -> Window:
    """Scenes of ten frames that hardly differ."""
    scenes = clean(rows // 10, rng)
    each = np.repeat(np.arange(len(scenes)), 10)
    frames = scenes.take(each)
    jitter = rng.normal(0, 0.01, frames.embeddings.shape).astype(np.float32)
    return Window.of(frames.outputs, frames.embeddings + jitter, frames.statistics)


def evidence(
    reference: Window, draw: Draw, windows: int, *, seed: int = 0, grouped: bool = True
) -> list[float]:
    """What all signals together have accumulated after each window."""
    rng, state, course = np.random.default_rng(seed), dict[str, Any](), list[float]()
    for _ in range(windows):
        window = draw(rng)
        if grouped:
            groups = groups_of(reference.embeddings, window.embeddings)
            arrays = window.outputs, window.embeddings, window.statistics, groups
            window = Window.of(*arrays)
        signals, state = martingale(reference, window, state, policy=POLICY, rng=rng)
        course.append(combine(signals, POLICY, 1).log_evidence)
    return course
