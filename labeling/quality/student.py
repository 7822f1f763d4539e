"""What labels and the unlabelled pool teach together, where held-out labels show that it helps.

A head learnt from few labels knows directions, the graph of nearest neighbours knows what lies
together: the teacher is the product of both, each to the power 1/2. Its classes may be pulled
towards even shares of the pool, which helps where they are and harms where they are not. The labels
decide that: each third is predicted from the others, several times. A head is then trained on the
labels and on the teacher's sharpened probabilities for the pool, weighted by their confidence. It
takes the plain head's place in the next teacher, for as many rounds as held-out labels ask for. If
the first teacher predicts them no better than the plain head, the plain head is what remains.
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
TINY = 1e-9  # added to a probability in a logarithm
FLOOR = 1e-3  # of a probability goes to all classes alike: nothing is impossible
STEPS = 30  # of the search for the offsets that make shares even
MODEST = 1.0  # nats that further rounds must gain over all held-out labels
ROUNDS = (1, 2, 3, 5)  # of teacher and head: more help ten classes, and harm two
STRENGTH = 1.0  # of the head's weights, a tenth of a plain head's: thousands of rows hold it, too
HEAD_ROWS = 5_000  # of the pool that the head learns from; of 10,000 it learnt no more
TEMPERATURES = np.geomspace(0.25, 8, 41)  # that a likelihood is taken at, the best of each side
DIRECTIONS = 256  # of the features that are left


POOL_USES = ("off", "auto")


@configuration("[train]")  # of hone.toml; the parameter `train` of a flow is TrainConfig
class TrainPolicy:
    """What a network learns from beside the labels."""

    # Of all cells of docs/measured-choosing.md two lost by it: 0.005 and 0.001 at 2,500 labels.
    pool: Annotated[str, OneOf(POOL_USES)] = Field(
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
    rounds: int  # one of ROUNDS; 0 where the pool does not help
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
    if len(rows) < FEWEST or len(np.unique(labels)) < 2:
        why = f"{len(rows)} labels of {len(np.unique(labels))} classes show nothing"
        return _without(teacher.plain(rows, labels), features, why)
    gain, evenness = _held_out(teacher, rows, labels, rng)
    why = f"held-out labels are likelier by {gain:+.3f} nats each"
    if gain * len(rows) <= EVIDENCE:
        return _without(teacher.plain(rows, labels), features, why, gain)
    rounds = _best_rounds(teacher, rows, labels, evenness, rng)
    *_, (logs, head) = teacher.rounds(rows, labels, evenness, rounds)
    probs, trust = teacher.targets(logs)
    return Student(head, True, probs, trust, gain, evenness, rounds, why)


def _without(plain: Head, features: np.ndarray, why: str, gain: float = 0.0) -> Student:
    return Student(plain, False, plain.probs(features), np.zeros(len(features)), gain, 0.0, 0, why)


@dataclass(frozen=True)
class _Teacher:
    features: np.ndarray
    graph: "csr_array"
    classes: int

    def plain(self, rows: np.ndarray, labels: np.ndarray) -> Head:
        """The head that labels alone teach."""
        return fit_head(self.features[rows], self._truth(labels))

    def neighbours(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The logarithms of the shares of classes that the labels have among neighbours."""
        truth = self._truth(labels)
        return self._logs(class_shares(spread_labels(self.graph, rows, truth), truth))

    def both(self, head: Head, neighbours: np.ndarray, evenness: float = 0.0) -> np.ndarray:
        """The logarithms of head times neighbours for every row, not yet scaled to sum to one."""
        logs = (self._logs(head.probs(self.features)) + neighbours) / 2
        return logs + evenness * _even(logs) if evenness else logs

    def targets(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the pool is trained on: sharpened probabilities, and their confidence, 0 to 1."""
        probs = softmax(SHARPNESS * logs)[0].astype(np.float32)
        return probs, (probs.max(axis=1) - 1 / self.classes) / (1 - 1 / self.classes)

    def rounds(
        self, rows: np.ndarray, labels: np.ndarray, evenness: float, count: int
    ) -> Iterator[tuple[np.ndarray, Head]]:
        """The teacher of each round, and the head that it makes; each head makes the next."""
        neighbours, head = self.neighbours(rows, labels), self.plain(rows, labels)
        free = np.setdiff1d(np.arange(len(self.features)), rows)
        free = np.sort(np.random.default_rng(len(free)).permutation(free)[:HEAD_ROWS])
        inputs = np.concatenate([self.features[rows], self.features[free]])
        for _ in range(count):
            logs = self.both(head, neighbours, evenness)
            probs, trust = self.targets(logs)
            targets = np.concatenate([self._truth(labels), probs[free]])
            weights = np.concatenate([np.ones(len(rows)), trust[free]])
            head = fit_head(inputs, targets, weights, start=head, strength=STRENGTH)
            yield logs, head

    def _truth(self, labels: np.ndarray) -> np.ndarray:
        return np.eye(self.classes, dtype=np.float32)[labels]

    def _logs(self, probs: np.ndarray) -> np.ndarray:
        return np.asarray(np.log((1 - FLOOR) * probs + FLOOR / self.classes))


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
            plain = teacher.plain(rows[learn], labels[learn])
            of_all = teacher.both(plain, teacher.neighbours(rows[learn], labels[learn]))
            logs[0, held] = np.log(plain.probs(teacher.features[rows[held]]) + TINY)
            offsets = _even(of_all)
            for place, evenness in enumerate(EVENNESS, start=1):
                logs[place, held] = of_all[rows[held]] + evenness * offsets
        likelihoods = np.array([_likelihood(part, labels) for part in logs])
        gains.append(likelihoods[1:] - likelihoods[0])
    mean = np.mean(gains, axis=0)
    return float(mean.max()), EVENNESS[int(mean.argmax())]


def _best_rounds(
    teacher: _Teacher,
    rows: np.ndarray,
    labels: np.ndarray,
    evenness: float,
    rng: np.random.Generator,
) -> int:
    """The first of ROUNDS after which the teacher makes held-out labels about as likely as any."""
    logs = np.empty((max(ROUNDS), len(rows), teacher.classes))
    for learn, held in _folds(labels, rng):
        taught = teacher.rounds(rows[learn], labels[learn], evenness, max(ROUNDS))
        for number, (of_all, _) in enumerate(taught):
            logs[number, held] = of_all[rows[held]]
    likelihoods = {count: _likelihood(logs[count - 1], labels) for count in ROUNDS}
    enough = max(likelihoods.values()) - MODEST / len(labels)
    return next(count for count, likelihood in likelihoods.items() if likelihood >= enough)


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
