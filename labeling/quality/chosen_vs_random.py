"""Whether choosing pays: labels that a strategy chose, compared with as many drawn at random."""

from dataclasses import dataclass, field

import numpy as np

from labeling.quality.label_errors import fit_head

MIN_LABELS = 20  # chosen, random and audit labels, below which no difference can be seen
DRAWS = 20  # of labels from each group


@dataclass(frozen=True)
class ChosenVsRandom:
    """Accuracy on the audit after learning from as many labels of each kind; a 95 % interval."""

    labels: int
    audit: int
    chosen: float
    random: float
    low: float
    high: float
    summary: str = field(init=False)  # the comparison in words and figures

    def __post_init__(self) -> None:
        gain = f"{self.chosen - self.random:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        better, worse = self.low > 0, self.high < 0
        result = "better than" if better else "worse than" if worse else "not different from"
        summary = (
            f"{result} random: with {self.labels} labels each, {self.chosen:.3f} chosen against "
            f"{self.random:.3f} drawn, {gain} on {self.audit} audit labels"
        )
        object.__setattr__(self, "summary", summary)


def compare_to_random(
    embeddings: np.ndarray,
    labels: np.ndarray,
    is_random: np.ndarray,
    audit_embeddings: np.ndarray,
    audit_labels: np.ndarray,
    rng: np.random.Generator,
) -> ChosenVsRandom | None:
    """What a linear head learns from each group, at the size of the smaller; None with too few.

    Both heads take the embeddings of one model, which learned from both groups, so that the
    difference is of the labels alone. The interval is a bootstrap over the labels and over the
    audit rows: each group is cut to that size at random, and the rest of it drawn with replacement,
    so that both learn from as many different labels and a small group is as uncertain as it is.
    """
    size = int(min(is_random.sum(), (~is_random).sum()))
    if size < MIN_LABELS or len(audit_labels) < MIN_LABELS:
        return None
    right = []
    for group in (np.flatnonzero(~is_random), np.flatnonzero(is_random)):
        draws = [rng.choice(rng.choice(group, size, replace=False), size) for _ in range(DRAWS)]
        predicted = [_predicted(embeddings[rows], labels[rows], audit_embeddings) for rows in draws]
        right.append(np.array([names == audit_labels for names in predicted], dtype=float))
    gains = _bootstrap(right[0], right[1], rng)
    low, high = np.quantile(gains, [0.025, 0.975])
    chosen, random = (float(credit.mean()) for credit in right)
    return ChosenVsRandom(size, len(audit_labels), chosen, random, float(low), float(high))


def _predicted(embeddings: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The classes that a head which learned these labels predicts for other rows."""
    if len(set(labels)) == 1:
        return np.full(len(others), labels[0], dtype=object)
    return np.asarray(fit_head(embeddings, labels).predict(others), dtype=object)


def _bootstrap(chosen: np.ndarray, random: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Differences under draws of audit rows (the same for both) and of label sets."""
    rows = rng.integers(chosen.shape[1], size=(1000, chosen.shape[1]))
    one, other = rng.integers(DRAWS, size=(2, 1000, 1))
    return (chosen[one, rows] - random[other, rows]).mean(axis=1)
