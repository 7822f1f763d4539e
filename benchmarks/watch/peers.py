"""One number a window of each peer: higher is more drift."""

import warnings
from collections.abc import Callable

import numpy as np

from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import Window

Peer = Callable[[Window, Window], float]


def columns(window: Window) -> np.ndarray:
    """Outputs, 16 embedding columns (their principal axes) and statistics side by side."""
    views = (window.outputs, window.embeddings[:, :16], np.nan_to_num(window.statistics))
    return np.hstack(views).astype(np.float64)


def ks_p_values(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The p-value of a two-sample KS test on each column, as Alibi Detect's KSDrift has it."""
    from scipy.stats import kstwobign

    past, size = len(reference), len(window)
    p_values = np.empty(reference.shape[1])
    for column in range(reference.shape[1]):
        one, other = np.sort(reference[:, column]), np.sort(window[:, column])
        both = np.concatenate([one, other])
        distance = np.abs(
            np.searchsorted(one, both, "right") / past
            - np.searchsorted(other, both, "right") / size
        ).max()
        root = np.sqrt(past * size / (past + size))
        p_values[column] = kstwobign.sf((root + 0.12 + 0.11 / root) * distance)
    return p_values


def bbsds(reference: Window, window: Window) -> float:
    """KS on the class probabilities, Bonferroni: the logarithm of the p-value."""
    p_values = ks_p_values(reference.outputs, window.outputs)
    return float(-np.log(max(p_values.min() * len(p_values), 1e-300)))


def three_views(reference: Window, window: Window) -> float:
    """KS on probabilities, embedding axes and statistics, Bonferroni."""
    p_values = ks_p_values(columns(reference), columns(window))
    return float(-np.log(max(p_values.min() * len(p_values), 1e-300)))


def psi(reference: Window, window: Window) -> float:
    """The largest population stability index of a column, over ten bins."""
    largest = 0.0
    for past, now in zip(columns(reference).T, columns(window).T, strict=True):
        edges = np.unique(np.quantile(past, np.linspace(0, 1, 11)[1:-1]))
        before, after = (
            np.bincount(np.searchsorted(edges, rows), minlength=len(edges) + 1) / len(rows)
            for rows in (past, now)
        )
        before, after = np.maximum(before, 1e-4), np.maximum(after, 1e-4)
        largest = max(largest, float(((after - before) * np.log(after / before)).sum()))
    return largest


def mmd(reference: Window, window: Window) -> float:
    """The squared maximum mean discrepancy of the embeddings, a Gaussian kernel."""
    past, now = reference.embeddings[:500], window.embeddings
    rows = np.vstack([past, now])
    squares = (rows**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * rows @ rows.T
    kernel = np.exp(-distances / np.median(distances[:300, :300]))
    size = len(past)
    same, other = kernel[:size, :size].mean(), kernel[size:, size:].mean()
    return float(same + other - 2 * kernel[:size, size:].mean())


def classifier(reference: Window, window: Window) -> float:
    """How well a logistic classifier tells the window from the reference, out of fold (a z)."""
    from scipy.stats import mannwhitneyu, norm
    from sklearn.linear_model import LogisticRegression

    rows = np.vstack([columns(reference), columns(window)])
    rows = np.clip((rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6), -4, 4)
    truth = np.repeat([0, 1], [len(reference), len(window)])
    fold, total = np.arange(len(rows)) % 2 == 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for taught in (fold, ~fold):
            model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=30)
            scores = model.fit(rows[taught], truth[taught]).decision_function(rows[~taught])
            held = truth[~taught] == 1
            test = mannwhitneyu(scores[held], scores[~held], alternative="greater")
            total += norm.isf(np.clip(test.pvalue, 1e-300, 1 - 1e-12))
    return float(total / np.sqrt(2))


def evidently(reference: Window, window: Window) -> float:
    """Evidently's rule for embeddings: the area under the ROC of a linear classifier, held out."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    rows = np.vstack([reference.embeddings, window.embeddings])
    truth = np.repeat([1, 0], [len(reference), len(window)])
    taught, held, answers, truths = train_test_split(rows, truth, test_size=0.5, random_state=42)
    model = SGDClassifier(loss="log_loss", random_state=42).fit(taught, answers)
    return float(roc_auc_score(truths, model.predict_proba(held)[:, 1]))


def accumulated(course: list[float]) -> list[float]:
    """The CUSUM of e-values made of p-values, whose logarithms these are."""
    level, levels = 0.0, list[float]()
    for value in course:
        level = accumulate(level, from_p_value(min(float(np.exp(-value)), 1.0)))
        levels.append(level)
    return levels


PEERS: dict[str, Peer] = {
    "BBSDs KS": bbsds, "KS of three views": three_views, "PSI": psi, "MMD": mmd,
    "classifier": classifier, "Evidently": evidently,
}  # fmt: skip
