"""What labels and the unlabelled pool teach together, where held-out labels show that it helps.

A head learnt from few labels knows directions, the graph of nearest neighbours knows what lies
together: the teacher is the product of both, each to the power 1/2. Its classes may be pulled
towards even shares of the pool, which helps where they are and harms where they are not. The labels
decide that: each third is predicted from the others, several times. A head is then trained on the
labels and on the teacher's sharpened probabilities for the pool, weighted by their confidence. If
the teacher predicts held-out labels no better than the plain head, the plain head is what remains.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from core.configuration import OneOf, configuration
from labeling.quality.label_propagation import (
    class_shares,
    directions_of,
    neighbour_graph,
    spread_labels,
)
from labeling.quality.linear_head import Head, fit_head, softmax

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FOLDS = 3
REPEATS = 3  # of the folds, each time divided otherwise: one division of 20 labels is a lottery
FEWEST = 10  # labels: of fewer none is held out
EVIDENCE = 1.5  # nats that all held-out labels together must be likelier: less is chance
EVENNESS = (0.0, 0.5, 1.0)  # how far the shares of the classes are pulled towards even ones
SHARPNESS = 2  # power of the teacher's probabilities: a product of two square roots is too flat
FLOOR = 1e-3  # of a probability goes to all classes alike: nothing is impossible
STEPS = 30  # of the search for the offsets that make shares even
HEAD_ROWS = 5_000  # of the pool that the head learns from; of 10,000 it learnt no more
TEMPERATURES = np.geomspace(0.25, 8, 41)  # that a likelihood is taken at, the best of each side
DIRECTIONS = 256  # of the features that are left


POOL_USES = ("off", "auto")


@configuration("[train]")  # of hone.toml; the parameter `train` of a flow is TrainConfig
class TrainPolicy:
    """What a network learns from beside the labels."""

    pool: Annotated[str, OneOf(POOL_USES)] = Field(  # neither benchmark nor test where it hurt
        default="auto",
        description='"auto" trains on inferred labels of the pool where held-out labels show '
        'that it helps, "off" on labels alone',
    )


@dataclass(frozen=True)
class Student:
    """A head, and what it learnt from beside the labels."""

    head: Head  # the plain head where the pool does not help
    helps: bool
    probs: np.ndarray  # of every row, by the teacher, sharpened; float32 [n, classes]
    trust: np.ndarray  # weight of each row's probabilities in training, 0 to 1
    gain: float  # nats a held-out label is likelier by the teacher than by the plain head
    evenness: float  # one of EVENNESS
    why: str


def reduced(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings as features: standardised, their DIRECTIONS largest directions, length one."""
    rows = np.asarray(embeddings, np.float32)
    rows = rows - rows.mean(axis=0)
    rows /= rows.std(axis=0) + 1e-6
    if rows.shape[1] > DIRECTIONS:
        axes = np.linalg.eigh(rows.T @ rows)[1]
        rows = rows @ axes[:, ::-1][:, :DIRECTIONS]
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), np.float32)


def pool_graph(features: np.ndarray) -> "csr_array":
    """The graph of nearest neighbours that labels spread over; its cost is rows squared."""
    return neighbour_graph(directions_of(features, np.arange(len(features)))(features))


def student(
    features: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    graph: "csr_array | None" = None,
    seed: int = 0,
) -> Student:
    """What `labels`, the class numbers of `rows`, and all other rows of `features` teach.

    `features` have length one, `graph` is their `pool_graph` where it is at hand. Deterministic.
    """
    graph = pool_graph(features) if graph is None else graph
    rows, labels = np.asarray(rows), np.asarray(labels)
    rng = np.random.default_rng(seed)
    teacher = _Teacher(features, graph, classes)
    plain, logs = teacher.learn(rows, labels)
    if len(rows) < FEWEST or len(np.unique(labels)) < 2:
        why = f"{len(rows)} labels of {len(np.unique(labels))} classes show nothing"
        return _without(plain, features, why)
    gain, evenness = _held_out(teacher, rows, labels, rng)
    why = f"held-out labels are likelier by {gain:+.3f} nats each"
    if gain * len(rows) <= EVIDENCE:
        return _without(plain, features, why, gain)
    probs = softmax(SHARPNESS * (logs + evenness * _even(logs)))[0].astype(np.float32)
    trust = (probs.max(axis=1) - 1 / classes) / (1 - 1 / classes)
    free = np.setdiff1d(np.arange(len(features)), rows)
    free = np.sort(rng.permutation(free)[:HEAD_ROWS])
    head = fit_head(
        np.concatenate([features[rows], features[free]]),
        np.concatenate([np.eye(classes, dtype=np.float32)[labels], probs[free]]),
        np.concatenate([np.ones(len(rows)), trust[free]]),
        start=plain,
    )
    return Student(head, True, probs, trust, gain, evenness, why)


def _without(plain: Head, features: np.ndarray, why: str, gain: float = 0.0) -> Student:
    return Student(plain, False, plain.probs(features), np.zeros(len(features)), gain, 0.0, why)


@dataclass(frozen=True)
class _Teacher:
    features: np.ndarray
    graph: "csr_array"
    classes: int

    def learn(self, rows: np.ndarray, labels: np.ndarray) -> tuple[Head, np.ndarray]:
        """The plain head, and the logarithms of head times neighbours for every row."""
        targets = np.eye(self.classes, dtype=np.float32)[labels]
        head = fit_head(self.features[rows], targets)
        shares = class_shares(spread_labels(self.graph, rows, targets), targets)
        both = (head.probs(self.features), shares)
        logs = [np.log((1 - FLOOR) * probs + FLOOR / self.classes) for probs in both]
        return head, (logs[0] + logs[1]) / 2


def _even(logs: np.ndarray) -> np.ndarray:
    """Offsets of the classes with which their shares of all rows are even."""
    offsets = np.zeros(logs.shape[1])
    for _ in range(STEPS):
        shares = softmax(logs + offsets)[0].mean(axis=0)
        offsets -= np.log(np.maximum(shares * len(offsets), FLOOR))
    return offsets


def _held_out(
    teacher: _Teacher, rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """By how much the teacher makes held-out labels likelier, at its best evenness, and that."""
    gains = []
    for _ in range(REPEATS):
        logs = np.empty((1 + len(EVENNESS), len(rows), teacher.classes))
        for learn, held in _folds(labels, rng):
            plain, of_all = teacher.learn(rows[learn], labels[learn])
            logs[0, held] = np.log(plain.probs(teacher.features[rows[held]]) + 1e-9)
            offsets = _even(of_all)
            for place, evenness in enumerate(EVENNESS, start=1):
                logs[place, held] = of_all[rows[held]] + evenness * offsets
        likelihoods = np.array([_likelihood(part, labels) for part in logs])
        gains.append(likelihoods[1:] - likelihoods[0])
    mean = np.mean(gains, axis=0)
    return float(mean.max()), EVENNESS[int(mean.argmax())]


def _folds(labels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which labels are learnt from and which are held out: each class in all folds."""
    folds = np.empty(len(labels), int)
    folds[np.lexsort((rng.random(len(labels)), labels))] = np.arange(len(labels)) % FOLDS
    for fold in range(FOLDS):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def _likelihood(logs: np.ndarray, labels: np.ndarray) -> float:
    """The mean log-likelihood of labels at the best temperature.

    A head of few labels is too flat: without a temperature whatever is sharper would win.
    """
    at = np.arange(len(labels)), labels
    scaled = (logs / temperature for temperature in TEMPERATURES)
    return max(float((rows[at] - softmax(rows)[1]).mean()) for rows in scaled)
