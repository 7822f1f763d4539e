"""Whether choosing pays: labels that a strategy chose against as many drawn at random."""

from dataclasses import dataclass

import numpy as np

from labeling.quality.label_errors import fit_head

MIN_LABELS = 20  # labels in either arm, and audit labels, below which nothing can be told
DRAWS = 20  # of labels from each arm


@dataclass(frozen=True)
class ChosenVsRandom:
    """Accuracy on the audit after learning from as many labels of each arm; a 95 % interval."""

    labels: int
    audit: int
    chosen: float
    random: float
    low: float
    high: float

    def __str__(self) -> str:
        gain = f"{self.chosen - self.random:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        said = "better than" if self.low > 0 else "worse than" if self.high < 0 else "no other than"
        return (
            f"{said} random: with {self.labels} labels each, {self.chosen:.3f} chosen against "
            f"{self.random:.3f} drawn, {gain} on {self.audit} audit labels"
        )


def compare_to_random(
    embeddings: np.ndarray,
    labels: np.ndarray,
    is_random: np.ndarray,
    audit_embeddings: np.ndarray,
    audit_labels: np.ndarray,
    rng: np.random.Generator,
) -> ChosenVsRandom | None:
    """What a linear head learns from each arm, at the size of the smaller; None with too few.

    Both heads see the embeddings of one model, which learned from both arms, so that the difference
    is of the labels alone. The interval is a bootstrap over the labels and over the audit rows:
    each arm is cut to that size by lot, and what is left of it drawn with replacement, so that both
    learn from as many different labels and a small arm is as uncertain as it is.
    """
    size = int(min(is_random.sum(), (~is_random).sum()))
    if size < MIN_LABELS or len(audit_labels) < MIN_LABELS:
        return None
    arms = [np.flatnonzero(~is_random), np.flatnonzero(is_random)]
    right = []
    for arm in arms:
        rows = [rng.choice(rng.choice(arm, size, replace=False), size) for _ in range(DRAWS)]
        told = [_told(embeddings[some], labels[some], audit_embeddings) for some in rows]
        right.append(np.array([guess == audit_labels for guess in told], dtype=float))
    gains = _bootstrap(right[0], right[1], rng)
    low, high = np.quantile(gains, [0.025, 0.975])
    chosen, random = (float(arm.mean()) for arm in right)
    return ChosenVsRandom(size, len(audit_labels), chosen, random, float(low), float(high))


def _told(embeddings: np.ndarray, labels: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """The labels that a head which learned these would give."""
    if len(set(labels)) == 1:
        return np.full(len(unseen), labels[0], dtype=object)
    return np.asarray(fit_head(embeddings, labels).predict(unseen), dtype=object)


def _bootstrap(chosen: np.ndarray, random: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Differences under draws of audit rows (the same for both) and of label sets."""
    rows = rng.integers(chosen.shape[1], size=(1000, chosen.shape[1]))
    one, other = rng.integers(DRAWS, size=(2, 1000, 1))
    return (chosen[one, rows] - random[other, rows]).mean(axis=1)
