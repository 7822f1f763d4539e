"""The benchmark's models, the product's own: a linear head on fixed features, and the student."""

import numpy as np

from benchmarks.labels.regimes import Problem
from labeling.quality import linear_head
from labeling.quality.student import pool_graph, student


class Head:
    """The head at its optimum for the labels so far; the search begins where the last one ended."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._fitted: linear_head.Head | None = None

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "Head":
        """Train on these; itself comes back."""
        if len(labels):
            targets = np.eye(self.classes, dtype=np.float32)[labels]
            self._fitted = linear_head.fit_head(features, targets, start=self._fitted)
        return self

    def probs(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, classes]; all alike before the first label."""
        if self._fitted is None:
            return np.full((len(features), self.classes), 1 / self.classes)
        probs = self._fitted.probs(features).astype(np.float64)
        return probs / probs.sum(axis=1, keepdims=True)

    def accuracy(self, features: np.ndarray, classes: np.ndarray) -> float:
        """The share of these that it names right."""
        return float((self.probs(features).argmax(axis=1) == classes).mean())

    def draws(self, features: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
        """Outputs [members, n, classes] with half of the features left out at random."""
        masks = rng.random((members, features.shape[1])) < 0.5
        return np.stack([self.probs(features * (2 * mask).astype(np.float32)) for mask in masks])


class Learner:
    """What the product trains: a student of the labels and of the pool's rows."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._graph = pool_graph(problem.features)

    def accuracy(self, rows: np.ndarray) -> float:
        """The share of the test images that it names right when these rows are labelled."""
        problem = self._problem
        learnt = student(
            problem.features, rows, problem.classes[rows], problem.class_count, graph=self._graph
        )
        named = learnt.head.probs(problem.test_features).argmax(axis=1)
        return float((named == problem.test_classes).mean())
