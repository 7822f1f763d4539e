"""Strategies of scikit-activeml, modAL and cleanlab, asked the same question as ours.

Each gets the same head: `Classifier` is one of scikit-activeml that trains `Head`. What cannot
be asked is in `REFUSED` with the reason; what takes too long finds out in the run.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.labels.head import Head
from benchmarks.labels.questions import Answer, Question, at_random

REFUSED = {
    "skactiveml Quire": "inverts a matrix of all pairs of the pool: 20,000 x 20,000 each query",
    "skactiveml FourDs": "works with its own mixture model classifier only, not with a head",
    "skactiveml EpistemicUncertaintySampling": "two classes only, or its own Parzen window",
    "skactiveml ValueOfInformationEER": "trains the head anew for every sample and class",
    "skactiveml MonteCarloEER": "trains the head anew for every sample and class",
    "skactiveml regression strategies": "GreedySampling, expected model change and others choose "
    "for regression; there are classes here",
}


def _classifier(head: Head) -> Any:
    from skactiveml.base import SkactivemlClassifier

    class Classifier(SkactivemlClassifier):
        """The head as scikit-activeml wants it: nan is no label."""

        def __init__(self, classes: Any = None, missing_label: float = np.nan,
                     cost_matrix: Any = None, random_state: Any = None) -> None:  # fmt: skip
            super().__init__(classes, missing_label, cost_matrix, random_state)

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Classifier":
            X, y, _ = self._validate_data(X, y, sample_weight)
            known = ~np.isnan(y.astype(float))
            self.head_ = Head(head.classes).fit(
                np.asarray(X[known], np.float32), y[known].astype(int)
            )
            return self

        def predict_proba(self, X: Any) -> np.ndarray:
            return self.head_.probs(np.asarray(X, np.float32))

    classifier = Classifier(classes=range(head.classes))
    classifier.fit(np.zeros((head.classes, 1), np.float32), np.arange(head.classes))
    classifier.head_ = head
    return classifier


def _queried(make: Callable[[int], Any], question: Question, **also: Any) -> np.ndarray:
    """Rows of `free` that a strategy of scikit-activeml names."""
    points = np.concatenate([question.free, question.labelled])
    labels = np.concatenate([np.full(len(question.free), np.nan), question.labels])
    rows = make(question.seed).query(X=points, y=labels, batch_size=question.size, **also)
    return np.asarray(rows, np.int64)


def _simple(name: str, question: Question, **options: Any) -> np.ndarray:
    """One that needs the features only."""
    import skactiveml.pool

    make = getattr(skactiveml.pool, name)
    return _queried(lambda seed: make(random_state=seed, **options), question)


def _with_head(name: str, question: Question, **options: Any) -> np.ndarray:
    """One that needs the head's probabilities."""
    import skactiveml.pool

    make = getattr(skactiveml.pool, name)
    return _queried(
        lambda seed: make(random_state=seed, **options),
        question, clf=_classifier(question.head), fit_clf=False,
    )  # fmt: skip


def _clue(question: Question) -> np.ndarray:
    from skactiveml.pool import Clue

    return _queried(lambda seed: Clue(random_state=seed), question,
                  estimator=_classifier(question.head), fit_estimator=False)  # fmt: skip


def _discriminative(question: Question) -> np.ndarray:
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import DiscriminativeAL
    from sklearn.linear_model import LogisticRegression

    discriminator = SklearnClassifier(LogisticRegression(max_iter=100), classes=[0, 1])
    return _queried(lambda seed: DiscriminativeAL(greedy_selection=True, random_state=seed),
                  question, discriminator=discriminator)  # fmt: skip


def _committee(name: str, question: Question, **options: Any) -> np.ndarray:
    """One that needs several models: five heads, each on labels drawn with replacement."""
    import skactiveml.pool

    rng = np.random.default_rng(question.seed)
    members = []
    for _ in range(5):
        rows = rng.integers(len(question.labels), size=len(question.labels))
        head = Head(question.head.classes)
        members.append(_classifier(head.fit(question.labelled[rows], question.labels[rows])))
    make = getattr(skactiveml.pool, name)
    return _queried(lambda seed: make(random_state=seed, **options), question,
                  ensemble=members, fit_ensemble=False)  # fmt: skip


def _costs(question: Question) -> np.ndarray:
    from skactiveml.pool import CostEmbeddingAL

    classes = range(question.head.classes)
    return _queried(lambda seed: CostEmbeddingAL(classes=classes, random_state=seed), question)


def _modal(name: str, question: Question) -> np.ndarray:
    from modAL import batch, uncertainty
    from modAL.models import ActiveLearner
    from sklearn.base import BaseEstimator

    class Trained(BaseEstimator):
        """The head as modAL wants it: trained already."""

        def fit(self, points: np.ndarray, labels: np.ndarray) -> "Trained":
            return self

        def predict_proba(self, points: np.ndarray) -> np.ndarray:
            return question.head.probs(points)

    if not len(question.labels):
        return at_random(question)
    learner = ActiveLearner(Trained(), X_training=question.labelled, y_training=question.labels)
    choose = getattr(batch if name.endswith("batch_sampling") else uncertainty, name)
    return np.asarray(choose(learner, question.free, question.size)[0])


def _activelab(question: Question) -> np.ndarray:
    """The lowest scores of what has no label; every label is one annotator's."""
    from cleanlab.multiannotator import get_active_learning_scores

    if not len(question.labels):
        return at_random(question)
    _, scores = get_active_learning_scores(
        question.labels[:, None], question.head.probs(question.labelled),
        question.head.probs(question.free),
    )  # fmt: skip
    return np.argsort(scores, kind="stable")[: question.size]


PEERS: dict[str, Answer] = {
    "skactiveml least_confident": partial(_with_head, "UncertaintySampling"),
    "skactiveml margin": partial(_with_head, "UncertaintySampling", method="margin_sampling"),
    "skactiveml entropy": partial(_with_head, "UncertaintySampling", method="entropy"),
    "skactiveml CoreSet": partial(_simple, "CoreSet"),
    "skactiveml TypiClust": partial(_simple, "TypiClust"),
    "skactiveml ProbCover": partial(_simple, "ProbCover"),
    "skactiveml MaxHerding": partial(_simple, "MaxHerding"),
    "skactiveml Badge": partial(_with_head, "Badge"),
    "skactiveml DropQuery": partial(_with_head, "DropQuery"),
    "skactiveml Falcun": partial(_with_head, "Falcun"),
    "skactiveml ContrastiveAL": partial(_with_head, "ContrastiveAL"),
    "skactiveml ProbabilisticAL": partial(_with_head, "ProbabilisticAL", metric="rbf"),
    "skactiveml Clue": _clue,
    "skactiveml DiscriminativeAL": _discriminative,
    "skactiveml QueryByCommittee": partial(_committee, "QueryByCommittee"),
    "skactiveml QueryByCommittee votes": partial(
        _committee, "QueryByCommittee", method="vote_entropy"
    ),
    "skactiveml GreedyBALD": partial(_committee, "GreedyBALD"),
    "skactiveml BatchBALD": partial(_committee, "BatchBALD", n_MC_samples=100),
    "skactiveml CostEmbeddingAL": _costs,
    "modAL margin": partial(_modal, "margin_sampling"),
    "modAL entropy": partial(_modal, "entropy_sampling"),
    "modAL batch": partial(_modal, "uncertainty_batch_sampling"),
    "cleanlab ActiveLab": _activelab,
}
