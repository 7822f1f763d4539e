"""Small crowds with known mistakes, for the tests of what settles them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labeling.consensus.votes import Votes


@dataclass(frozen=True)
class Crowd:
    """What people said and what was true."""

    truth: np.ndarray
    sample: np.ndarray
    person: np.ndarray
    said: np.ndarray
    classes: int
    people: int

    def evidence(self, probs: np.ndarray | None = None, **known: np.ndarray) -> Votes:
        """What a method sees."""
        given: dict = {"known": np.full(len(self.truth), -1), "weight": np.ones(self.people)}
        return Votes(
            samples=pd.RangeIndex(len(self.truth), name="sample_id"),
            annotators=pd.RangeIndex(self.people),
            classes=[f"{k}" for k in range(self.classes)],
            sample=self.sample,
            annotator=self.person,
            class_index=self.said,
            probs=probs,
            assumed_error=0.05,
            **(given | known),
        )

    def right(self, found: pd.DataFrame, *, after: int = 0) -> float:
        """The share of right labels, of the samples from number `after` on."""
        return float((found["label"].astype(str) == self.truth.astype(str))[after:].mean())

    def model(self, accuracy: float, seed: int = 0, sharpness: float = 1) -> np.ndarray:
        """Probabilities that mean what they say, to the power of `sharpness`."""
        rng = np.random.default_rng(seed)
        height = 2 * accuracy * rng.random((len(self.truth), 1))
        height = np.clip(height, 1 / self.classes, 0.99)
        off = rng.random((len(self.truth), self.classes))
        top = np.where(rng.random(len(self.truth)) < height[:, 0], self.truth, off.argmax(axis=1))
        probs = np.repeat((1 - height) / (self.classes - 1), self.classes, axis=1)
        probs[np.arange(len(top)), top] = height[:, 0]
        probs **= sharpness
        return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def coin(classes: int, accuracy: float) -> np.ndarray:
    """A person right that often, whose mistakes are any other class."""
    matrix = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(matrix, accuracy)
    return matrix


def crowd(
    people: Sequence[np.ndarray],
    *,
    each: int,
    size: int = 600,
    seed: int = 0,
    frequency: Sequence[float] | None = None,
) -> Crowd:
    """Each sample answered by `each` of the people."""
    rng = np.random.default_rng(seed)
    classes = len(people[0])
    truth = rng.choice(classes, size=size, p=frequency)
    turns = rng.permuted(np.tile(np.arange(len(people)), (size, 1)), axis=1)[:, :each]
    sample, person = np.repeat(np.arange(size), each), turns.ravel()
    chance = np.array(people)[person, truth[sample]].cumsum(axis=1)
    said = (rng.random((len(sample), 1)) > chance).sum(axis=1).clip(max=classes - 1)
    return Crowd(truth, sample, person, said, classes, len(people))
