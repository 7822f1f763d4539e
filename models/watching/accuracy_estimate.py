"""Accuracy without outcomes: how often a calibrated confidence makes the window's answers right.

A logistic regression of "the answer was right" on the reference starts from the model's own
confidence, and learns by how much it errs: by confidence, margin, predicted class, the labels of
the nearest reference rows and the distance to them. Its mean over the window is the estimate.

Under drift confidence sees another loss than there is: on one set of images the truth fell 1.8
times as far as the regression said, on another 0.8 times. How it is here is learned from corrupted
copies of reference images, whose labels are known. The interval has four parts: chance within the
window, the error of the regression, that of the loss, and how much a regression is off in a region
of the reference that it was not fitted on, as far as the window has moved. Beyond the support of
the reference, and where outcomes contradict, there is no estimate.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.watching.outcome_signals import Judged, surprise
from models.watching.signals import WatchPolicy, Window
from models.watching.unseen_loss import Copies, Unseen

NEIGHBOURS = 10
LEAST_COPIES = 20  # with labels
LEAST_ROWS = 50  # of the reference with labels
REGIONS = 8  # of the reference, each left out once
RIDGE = 2.0  # of standardised columns: how many rows it takes to leave the model's own confidence
CLASS_RIDGE = 10.0
FAR = 0.99  # share of the reference that a classifier of both takes less for traffic than a far row
MOST_FAR = 0.12  # share of the window that may be far
WIDTH = 128  # of the embeddings, beyond which they are projected
AXES = 40  # of the embeddings, that the classifier has
CLASSIFIER_RIDGE = 10.0
CLOSE = 1e-3  # a step of Newton's after which there is none
LARGEST_STEP = 0.5  # of a coefficient: a whole step of Newton's may go far beyond the solution
CONTRADICTION = 2.58  # standard errors between outcomes and estimate
LEAST_OUTCOMES = 20
LEVEL = 1.96


@dataclass(frozen=True)
class AccuracyEstimate:
    """The accuracy of a window with an interval; without a value, `meaning` says why."""

    value: float | None
    low: float | None
    high: float | None
    rows: int
    groups: int
    meaning: str
    far: float = 0.0  # share of the window beyond the support of the reference


@dataclass(frozen=True)
class _Calibration:
    """A fitted regression: coefficients beside an offset, and their covariance."""

    centre: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray


def estimate_accuracy(
    reference: Window,
    window: Window,
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
    judged: Judged | None = None,
    copies: Copies | None = None,
) -> AccuracyEstimate:
    """The share of the window's rows whose answer is right, between `low` and `high`.

    Of 100 windows of drifted images the later truth lies between them in about 95. `judged` are
    outcomes: where they contradict the model's probabilities there is no estimate.
    From `copies` of reference images it learns what the confidence does not see.
    """
    groups = len(np.unique(window.groups))
    if missing := _missing(reference, window, groups, policy):
        return AccuracyEstimate(None, None, None, len(window), groups, missing)
    assert reference.labels is not None  # `_missing` looked
    past = reference.take(np.flatnonzero(reference.labels >= 0))
    past, window = (replace(side, embeddings=_narrow(side.embeddings)) for side in (past, window))
    far = _far(past, window, rng)
    if far > MOST_FAR:
        why = (
            f"{far:.0%} of the images are unlike {FAR:.0%} of the reference: what the model's "
            "confidence means there was never measured"
        )
        return AccuracyEstimate(None, None, None, len(window), groups, why, far)
    known = _Neighbours(past, reference.embeddings.shape[1])
    past_rows, rows = known.rows_of(past, groups=past.groups), known.rows_of(window)
    hits = (past.outputs.argmax(axis=1) == past.labels).astype(float)
    fitted = _fit(past_rows, hits, _weights(past.groups))
    if contradiction := _contradiction(fitted, known, judged):
        return AccuracyEstimate(None, None, None, len(window), groups, contradiction, far)
    regions = _regions(_normed(past.embeddings), rng)
    chances = _chances(fitted, rows)
    moved, before = _moved(past, window, regions), _chances(fitted, past_rows)
    unseen = _learned(copies, reference, past, known, fitted, before, regions)
    loss, slack = unseen.loss(before, chances, moved)
    variance = (
        _chance(chances, window.groups)
        + _error(fitted, rows, chances)
        + slack
        + _off(fitted, past, past_rows, hits, regions) * moved
    )
    half = LEVEL * float(np.sqrt(variance))
    value = min(max(float(chances.mean()) - loss, 0.0), 1.0)
    return _between(value, half, len(window), groups, far)


def _between(value: float, half: float, rows: int, groups: int, far: float) -> AccuracyEstimate:
    low, high = max(0.0, value - half), min(1.0, value + half)
    meaning = (
        f"about {value:.1%} of the answers are right ({low:.1%} to {high:.1%}), as far as the "
        f"confidence of {rows} images tells"
    )
    return AccuracyEstimate(value, low, high, rows, groups, meaning, far)


def _narrow(embeddings: np.ndarray) -> np.ndarray:
    """In `WIDTH` columns at most: a random projection keeps the distances."""
    width = embeddings.shape[1]
    if width <= WIDTH:
        return embeddings
    projection = np.random.default_rng(width).normal(size=(width, WIDTH)) / np.sqrt(WIDTH)
    return np.asarray(embeddings @ projection.astype(np.float32))


class _Neighbours:
    """The labelled reference, as what is known of an image by those nearest to it."""

    def __init__(self, past: Window, width: int) -> None:
        self.width = width
        self._past = past
        self._unit = _normed(past.embeddings)
        self._labels = np.asarray(past.labels)

    def rows_of(self, side: Window | Judged, *, groups: np.ndarray | None = None) -> np.ndarray:
        """The regression's columns for each row; the first is the offset.

        `groups`: the rows are of these groups of the reference, which are no neighbours of theirs.
        """
        near = _normed(_narrow(np.asarray(side.embeddings))) @ self._unit.T
        if groups is not None:
            near[groups[:, None] == self._past.groups[None]] = -2
        count = min(NEIGHBOURS, near.shape[1] - 1)
        nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
        distance = np.sqrt(np.maximum(2 - 2 * np.take_along_axis(near, nearest, 1).mean(axis=1), 0))
        predicted = side.outputs.argmax(axis=1)
        agreement = (self._labels[nearest] == predicted[:, None]).mean(axis=1)
        ordered = np.sort(np.clip(side.outputs, 1e-4, 1 - 1e-4), axis=1)
        first, second = ordered[:, -1], ordered[:, -2]
        own = np.log(first / (1 - first))
        classes = np.eye(side.outputs.shape[1])[predicted]
        return np.column_stack([own, own, np.log(first / second), agreement, distance, classes])


def _fit(
    rows: np.ndarray, hits: np.ndarray, weights: np.ndarray, like: _Calibration | None = None
) -> _Calibration:
    """Newton's steps; the first column is the offset, ridge keeps the others near nothing.

    They start from the coefficients of `like`, whose standardisation is taken too.
    """
    columns = rows[:, 1:]
    numeric = columns.shape[1] - _classes(rows)
    if like is None:
        centre = np.average(columns, axis=0, weights=weights)
        spread = np.sqrt(np.average((columns - centre) ** 2, axis=0, weights=weights))
        scale = np.maximum(spread, 0.02)  # a column that is constant here may vary in the window
        scale[numeric:] = 1.0
        coefficients = np.zeros(columns.shape[1] + 1)
        like = _Calibration(centre, scale, coefficients, np.eye(len(coefficients)))
    design, coefficients = _design(like, rows), like.coefficients.copy()
    ridge = np.full(design.shape[1], RIDGE)
    ridge[0], ridge[numeric + 1 :] = 0.01, CLASS_RIDGE
    for _ in range(30):
        chances = _sigmoid(rows[:, 0] + design @ coefficients)
        slope = design.T @ (weights * (hits - chances)) - ridge * coefficients
        curvature = (design * (weights * chances * (1 - chances))[:, None]).T @ design
        step = np.linalg.solve(curvature + np.diag(ridge), slope)
        largest = float(np.abs(step).max())
        coefficients += step * min(1.0, LARGEST_STEP / max(largest, 1e-12))
        if largest < CLOSE:
            break
    covariance = np.linalg.inv(curvature + np.diag(ridge))
    return _Calibration(like.centre, like.scale, coefficients, covariance)


def _classes(rows: np.ndarray) -> int:
    return rows.shape[1] - 5


def _design(fitted: _Calibration, rows: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(rows)), (rows[:, 1:] - fitted.centre) / fitted.scale])


def _chances(fitted: _Calibration, rows: np.ndarray) -> np.ndarray:
    return _sigmoid(rows[:, 0] + _design(fitted, rows) @ fitted.coefficients)


def _error(fitted: _Calibration, rows: np.ndarray, chances: np.ndarray) -> float:
    """The variance of the mean chance that comes from the regression's own error."""
    slope = (_design(fitted, rows) * (chances * (1 - chances))[:, None]).mean(axis=0)
    return float(slope @ fitted.covariance @ slope)


def _chance(chances: np.ndarray, groups: np.ndarray) -> float:
    """The variance of the share of right answers, when a group is right or wrong as a whole."""
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(places, weights=chances) / sizes
    return float((sizes**2 * means * (1 - means)).sum() / len(chances) ** 2)


def _learned(
    copies: Copies | None,
    reference: Window,
    past: Window,
    known: _Neighbours,
    fitted: _Calibration,
    chances: np.ndarray,
    regions: np.ndarray,
) -> Unseen:
    """What the confidence does not see of a loss, by the copies that have labels."""
    if copies is None or reference.labels is None:
        return Unseen()
    labels, groups = reference.labels[copies.rows], reference.groups[copies.rows]
    used = np.flatnonzero(labels >= 0)
    if len(used) < LEAST_COPIES:
        return Unseen()
    place = np.cumsum(reference.labels >= 0) - 1  # of a row of the reference in `past`
    at = place[copies.rows[used]]
    before = chances[at]
    right = (past.outputs.argmax(axis=1) == past.labels)[at]
    figures = []
    for kind, outputs in copies.outputs.items():
        embeddings = _narrow(np.asarray(copies.embeddings[kind][used], np.float32))
        side = Window.of(outputs[used], embeddings, groups=groups[used])
        if len(side) < len(used):
            continue  # a copy that is no numbers
        shown = before - _chances(fitted, known.rows_of(side, groups=side.groups))
        real = right.astype(float) - (side.outputs.argmax(axis=1) == labels[used])
        noise = float((real - shown).var()) / len(used)
        figures.append((shown.mean(), real.mean(), noise, _moved(past, side, regions)))
    return Unseen.learned(*np.array(figures).T) if figures else Unseen()


def _far(past: Window, window: Window, rng: np.random.Generator) -> float:
    """The share of the window that a classifier of both takes for traffic, against `FAR`.

    A logistic regression on the principal axes of the reference, each half scored by the other's.
    Of clean traffic 1 - `FAR` is far.
    """
    middle = past.embeddings.mean(axis=0)
    centred = past.embeddings - middle
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :AXES]
    one, other = ((side.embeddings - middle) @ axes for side in (past, window))
    rows = np.clip(np.vstack([one, other]) / (one.std(axis=0) + 1e-9), -4, 4)
    rows = np.column_stack([np.ones(len(rows)), rows])
    new = np.arange(len(rows)) >= len(one)
    weights = np.concatenate([_weights(past.groups), _weights(window.groups)])
    half = _halves(np.concatenate([past.groups, window.groups + past.groups.max() + 1]), rng)
    shares = []
    for fitted in (half, ~half):
        chosen = _separate(rows[fitted], new[fitted].astype(float), weights[fitted])
        scores = rows[~fitted] @ chosen
        bound = np.quantile(scores[~new[~fitted]], FAR)
        shares.append(float((scores[new[~fitted]] > bound).mean()))
    return float(np.mean(shares))


def _halves(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random half of the groups, as a mask of their rows."""
    names, places = np.unique(groups, return_inverse=True)
    return np.asarray((rng.permutation(len(names)) < len(names) / 2)[places])


def _separate(rows: np.ndarray, new: np.ndarray, weights: np.ndarray) -> np.ndarray:
    ridge = np.full(rows.shape[1], CLASSIFIER_RIDGE)
    ridge[0] = 1e-3
    coefficients = np.zeros(rows.shape[1])
    for _ in range(8):
        chances = _sigmoid(rows @ coefficients)
        curvature = (rows * (weights * chances * (1 - chances))[:, None]).T @ rows
        slope = rows.T @ (weights * (new - chances)) - ridge * coefficients
        coefficients = coefficients + np.linalg.solve(curvature + np.diag(ridge), slope)
    return coefficients


def _off(
    whole: _Calibration, past: Window, rows: np.ndarray, hits: np.ndarray, regions: np.ndarray
) -> float:
    """The variance between regions of what a regression fitted without a region errs there."""
    weights = _weights(past.groups)
    excess = []
    for region in np.unique(regions):
        inside = regions == region
        if inside.sum() < 5 or (~inside).sum() < LEAST_ROWS // 2:
            continue
        fitted = _fit(rows[~inside], hits[~inside], weights[~inside], whole)
        chances = _chances(fitted, rows[inside])
        off = float(hits[inside].mean() - chances.mean())
        noise = _chance(chances, past.groups[inside]) + _error(fitted, rows[inside], chances)
        excess.append(off**2 - noise)
    return max(0.0, float(np.mean(excess))) if excess else 0.0


def _regions(unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clusters of the rows (Lloyd's algorithm)."""
    centres = unit[rng.choice(len(unit), min(REGIONS, len(unit)), replace=False)]
    for _ in range(10):
        nearest = (unit @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
        for region in range(len(centres)):
            if (nearest == region).any():
                centres[region] = unit[nearest == region].mean(axis=0)
    return nearest


def _moved(past: Window, window: Window, regions: np.ndarray) -> float:
    """The squared distance of the means, in that of a region of the reference from the rest."""
    unit, new = _normed(past.embeddings), _normed(window.embeddings)
    middle = unit.mean(axis=0)
    typical = [
        float(((unit[regions == region].mean(axis=0) - middle) ** 2).sum())
        for region in np.unique(regions)
    ]
    noise = float(new.var(axis=0).sum()) / len(np.unique(window.groups))
    distance = float(((new.mean(axis=0) - middle) ** 2).sum()) - noise
    return max(0.0, distance) / (float(np.mean(typical)) + 1e-9)


def _contradiction(fitted: _Calibration, known: _Neighbours, judged: Judged | None) -> str | None:
    """The reason why outcomes and probabilities cannot both be right; None while they can.

    With embeddings the answers that are right are compared with the regression, too.
    """
    rows = judged.confirmed_once() if judged is not None else None
    if rows is None or len(rows.truths) < LEAST_OUTCOMES:
        return None
    lost, missed = surprise(rows)
    hits, expected = rows.outputs.argmax(axis=1) == rows.truths, rows.outputs.max(axis=1)
    if rows.embeddings is not None and rows.embeddings.shape[1] == known.width:
        columns = known.rows_of(rows)
        expected = _chances(fitted, columns)
        variance = (expected * (1 - expected)).sum() / len(hits) ** 2
        variance += _error(fitted, columns, expected)
        missed = float((expected - hits).mean() / np.sqrt(variance + 1e-9))
    away = max(lost, abs(missed))
    if away < CONTRADICTION:
        return None
    return (
        f"{hits.mean():.0%} of {len(hits)} confirmed outcomes are right; of the same images "
        f"{expected.mean():.0%} were expected to be ({away:.1f} standard errors)"
    )


def _missing(reference: Window, window: Window, groups: int, policy: WatchPolicy) -> str | None:
    labels = reference.labels
    usable = 0 if labels is None else len(np.unique(reference.groups[labels >= 0]))
    if usable < LEAST_ROWS:
        return f"{usable} images of the reference have a label, {LEAST_ROWS} are needed"
    for view in ("outputs", "embeddings"):
        past, new = (getattr(side, view).shape[1] for side in (reference, window))
        if past != new:
            return f"{view} have {new} columns in the window and {past} in the reference"
    if groups < policy.min_rows:
        return f"{groups} different images in the window, {policy.min_rows} are needed"
    return None


def _weights(groups: np.ndarray) -> np.ndarray:
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / sizes[places]


def _normed(embeddings: np.ndarray) -> np.ndarray:
    rows = np.asarray(embeddings, np.float32)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
