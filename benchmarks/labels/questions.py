"""What a strategy may look at when it is asked for a batch, and who answers by which name."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import FrameType

import numpy as np

from benchmarks.labels.head import Head
from labeling.strategies import STRATEGIES
from labeling.strategies.pool import Pool

MEMBERS = 10  # of an ensemble


@dataclass(frozen=True)
class Question:
    """Everything that may be looked at: never the classes of what has no label."""

    head: Head
    rows: np.ndarray  # [n]: numbers in the pool of what may be chosen
    features: np.ndarray  # [pool, width]
    labelled: np.ndarray  # [m, width]
    labels: np.ndarray  # [m]
    size: int
    seed: int

    @cached_property
    def free(self) -> np.ndarray:
        """The features of what may be chosen."""
        return self.features[self.rows]

    @cached_property
    def probs(self) -> np.ndarray:
        """What the model gives for what may be chosen."""
        return self.head.probs(self.free)


Answer = Callable[[Question], np.ndarray]  # which of `free`


def ours(name: str) -> Answer:
    """The strategy of this name in `STRATEGIES`."""
    strategy = STRATEGIES[name]

    def choose(question: Question) -> np.ndarray:
        rng = np.random.default_rng(question.seed)
        pool = Pool(
            probs=question.probs,
            embeddings=question.free,
            ensemble=(
                question.head.draws(question.free, MEMBERS, rng)
                if "ensemble" in strategy.needs
                else None
            ),
            labelled=question.labelled,
            labels=question.labels,
        )
        return strategy.choose(pool, question.size, rng).rows

    return choose


def at_random(question: Question) -> np.ndarray:
    """Drawn without looking at anything."""
    rng = np.random.default_rng(question.seed)
    return rng.choice(len(question.rows), question.size, replace=False)


def within(seconds: float, choose: Answer, question: Question) -> np.ndarray:
    """Its answer, or TimeoutError once it has used so much processor time."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"a query took more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return choose(question)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
