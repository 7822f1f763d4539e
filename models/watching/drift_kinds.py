"""The kind of a drift: covariate, prior, concept, instrumentation, or cannot tell.

Told apart by what explains it. A fault of the instruments shows in the schema, in broken rows or in
one source alone. A shift of the class mix is gone once the reference is weighed by the window's
mix. A covariate shift is left after that. A concept change leaves the images alone: the truths are
less likely than the model's probabilities say, after these follow the new mix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from models.watching.class_mix import class_biases, class_mix, label_shares
from models.watching.outcome_signals import Judged, surprise
from models.watching.service_signals import service_signals
from models.watching.signals import Shift, Signal, WatchPolicy, Window
from models.watching.views import EMBEDDINGS, compared, components, doubt

INSTRUMENTS = ("broken", "schema", "refused", "errors")  # service signals
CLEAR = 0.001  # p-value of a clear difference
RESIDUAL = 0.5  # of the distance before: less is left by an estimate of the mix that is not exact
SOURCE_ROWS = 20  # of one source, and of all others together, to compare them
SURPRISE = 2.5  # standard errors: outcomes that the probabilities do not explain
SURPRISE_OF_MIX = 3.0  # where the class mix moved too, and may be misjudged
LEAST_OUTCOMES = 15
RESAMPLES = 19


class DriftKind(StrEnum):
    """What changed."""

    COVARIATE = "covariate shift"
    PRIOR = "prior shift"
    CONCEPT = "concept change"
    INSTRUMENTATION = "instrumentation fault"
    UNKNOWN = "cannot tell"


REMEDIES: Mapping[DriftKind, tuple[str, ...]] = {
    DriftKind.COVARIATE: (
        "label the batch of images of this window and retrain: `hone label`, `hone retrain`",
        "a change that is to be expected can be accepted as known: `hone watch --accept`",
    ),
    DriftKind.PRIOR: (
        "reweigh the training rows by the new class mix when retraining; the labels still hold",
        "a mix that returns by itself (season, campaign) can be accepted: `hone watch --accept`",
    ),
    DriftKind.CONCEPT: (
        "compare the guideline with the annotators' answers: the same images get others now",
        "relabel recent images and retrain on them",
        "until then roll back or halt, if errors cost more than no answer: `hone halt`",
    ),
    DriftKind.INSTRUMENTATION: (
        "repair the source (camera, client, codec) before any labelling: the model is not at fault",
        "set its images aside, and do not train on them",
    ),
    DriftKind.UNKNOWN: (
        "label 50 images of this window: outcomes tell a concept change from a covariate shift",
    ),
}


@dataclass(frozen=True)
class KindOfDrift:
    """The kind with its evidence as sentences, the remedies, and the numbers behind them."""

    kind: DriftKind
    evidence: tuple[str, ...]
    remedies: tuple[str, ...]
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Comparison:
    """The column that differs most clearly, and the p-value over all columns."""

    p_value: float
    distance: float
    column: str
    columns: int


@dataclass(frozen=True)
class _Mix:
    """The class mix of the window against the reference's."""

    p_value: float
    ratio: np.ndarray  # by class: share in the window over share in the reference
    weights: np.ndarray  # of the reference's rows
    words: str


def kind_of_drift(
    reference: Window,
    window: Window,
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
    judged: Judged | None = None,
    service: Sequence[Signal] | None = None,
) -> KindOfDrift:
    """The kind of drift in a window; `service` are the signals of `service_signals`.

    Without `service` they are computed with no history. `judged` are outcomes of this traffic.
    """
    if service is None:
        service, _ = service_signals(reference, window, {}, policy=policy, rng=rng)
    faults = [
        f"{signal.name}: {signal.meaning}"
        for signal in service
        if signal.name in INSTRUMENTS and signal.outcome == Shift.DRIFT
    ]
    if faults:
        return _kind(DriftKind.INSTRUMENTATION, faults)
    if reason := doubt(reference, window, policy):
        return _kind(DriftKind.UNKNOWN, [reason])
    mix = _mix_of(reference, window, rng)
    plain = _compare(reference, window, np.ones(len(reference)), policy, rng)
    left = _compare(reference, window, mix.weights, policy, rng)
    if alone := _one_source(reference, window, policy, rng):
        return _kind(DriftKind.INSTRUMENTATION, [alone], {"covariate_p": left.p_value})
    return _decided(mix, plain, left, _surprising(judged, mix.ratio))


def _decided(mix: _Mix, plain: _Comparison, left: _Comparison, away: float) -> KindOfDrift:
    measures = {
        "prior_p": mix.p_value, "covariate_p": left.p_value, "covariate_distance": left.distance,
        "unweighted_distance": plain.distance, "surprise": away,
    }  # fmt: skip
    images = (
        f"with the window's class mix, {left.column} still differs from the reference "
        f"(KS distance {left.distance:.2f}, p {left.p_value:.1g} over {left.columns} columns)"
    )
    same = (
        f"with the window's class mix no column is far off (KS distance {left.distance:.2f}, p "
        f"{left.p_value:.1g}; without it {plain.distance:.2f})"
    )
    outcomes = (
        f"the truths are {away:.1f} standard errors less likely than the model's probabilities"
        if np.isfinite(away)
        else f"fewer than {LEAST_OUTCOMES} outcomes: whether truths follow the model is not known"
    )
    is_mix = mix.p_value <= CLEAR
    if left.p_value <= CLEAR and not (is_mix and left.distance < RESIDUAL * plain.distance):
        return _kind(DriftKind.COVARIATE, [images, outcomes], measures)
    if away >= (SURPRISE_OF_MIX if is_mix else SURPRISE):
        return _kind(DriftKind.CONCEPT, [outcomes, same], measures)
    if is_mix:
        return _kind(DriftKind.PRIOR, [mix.words, same, outcomes], measures)
    return _kind(DriftKind.UNKNOWN, [same, mix.words, outcomes], measures)


def _kind(
    kind: DriftKind, evidence: Sequence[str], measures: Mapping[str, float] | None = None
) -> KindOfDrift:
    return KindOfDrift(kind, tuple(evidence), REMEDIES[kind], measures or {})


def _mix_of(reference: Window, window: Window, rng: np.random.Generator) -> _Mix:
    """The mix of both by maximum likelihood; p by the same ratio of clean draws of the reference.

    The draws have as many groups as the window. Their likelihood ratios are close to chi-squared up
    to a factor, which their mean gives.
    """
    from scipy.special import chdtrc

    shares = label_shares(reference.outputs, reference.labels)
    factors = class_biases(reference.outputs, shares)
    base = shares.mean(axis=0)
    past, new = (_normalised(side.outputs * factors) for side in (reference, window))
    mix = class_mix(new, base, _of_groups(window.groups))
    size = min(len(np.unique(window.groups)), len(reference))
    clean = [
        _ratio(past[rows], base, np.ones(size))
        for rows in (rng.choice(len(past), size) for _ in range(RESAMPLES))
    ]
    freedom = max(int((base > 0).sum()) - 1, 1)
    scale = max(float(np.mean(clean)) / freedom, 0.1)
    weights = _of_groups(window.groups)
    statistic = _ratio(new, base, weights / weights.sum() * size)
    p_value = float(chdtrc(freedom, statistic / scale))
    ratio = np.where(base > 0, mix / np.maximum(base, 1e-9), 1.0)
    moved = int(np.abs(mix - base).argmax())
    words = (
        f"class {moved} makes up about {mix[moved]:.0%} of the images, {base[moved]:.0%} of the "
        f"reference; p {p_value:.1g} over all classes"
    )
    return _Mix(p_value, ratio, shares @ ratio, words)


def _ratio(outputs: np.ndarray, base: np.ndarray, weights: np.ndarray) -> float:
    """Twice the logarithm of the likelihood ratio of the best mix to the reference's."""
    mix = class_mix(outputs, base, weights)
    ratios = outputs @ np.where(base > 0, mix / np.maximum(base, 1e-9), 0.0)
    return max(0.0, 2 * float(weights @ np.log(np.maximum(ratios, 1e-9))))


def _compare(
    reference: Window,
    window: Window,
    weights: np.ndarray,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> _Comparison:
    """A KS test of every column of every view with a weighed reference, corrected for them all."""
    from scipy.special import kolmogorov

    best, columns = _Comparison(1.0, 0.0, "no column", 0), 0
    for view, whole in compared(reference, window, policy, rng).items():
        pair = components(whole) if view == EMBEDDINGS else whole
        of_rows = weights[pair.past_places]
        effective = of_rows.sum() ** 2 / max((of_rows**2).sum(), 1e-12)
        scale = np.sqrt(effective * len(pair.window) / (effective + len(pair.window)))
        columns += len(pair.columns)
        for at, name in enumerate(pair.columns):
            distance = _distance(pair.reference[:, at], of_rows, pair.window[:, at])
            p_value = float(kolmogorov((scale + 0.12 + 0.11 / scale) * distance))
            if (p_value, -distance) < (best.p_value, -best.distance):
                best = _Comparison(p_value, distance, name, 0)
    return _Comparison(min(1.0, best.p_value * columns), best.distance, best.column, columns)


def _distance(past: np.ndarray, weights: np.ndarray, new: np.ndarray) -> float:
    """The KS distance of a weighed sample from another."""
    order = np.argsort(past)
    past, cumulated = past[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    new = np.sort(new)
    values = np.concatenate([past, new])
    one = cumulated[np.searchsorted(past, values, side="right")] / cumulated[-1]
    other = np.searchsorted(new, values, side="right") / len(new)
    return float(np.abs(one - other).max())


def _one_source(
    reference: Window, window: Window, policy: WatchPolicy, rng: np.random.Generator
) -> str | None:
    """The sentence about the only source whose images differ from the reference; None without."""
    if window.sources is None:
        return None
    names = [
        str(name) for name in np.unique(window.sources)
        if min((window.sources == name).sum(), (window.sources != name).sum()) >= SOURCE_ROWS
    ]  # fmt: skip
    for name in names:
        inside, outside = (
            window.take(np.flatnonzero(rows))
            for rows in (window.sources == name, window.sources != name)
        )
        own, others = (
            _compare(reference, side, _mix_of(reference, side, rng).weights, policy, rng)
            for side in (inside, outside)
        )
        if own.p_value <= CLEAR / len(names) and others.p_value > CLEAR * 10:
            return (
                f"only source {name!r} differs: {own.column} (KS distance {own.distance:.2f}, p "
                f"{own.p_value:.1g}; all other sources together {others.distance:.2f})"
            )
    return None


def _surprising(judged: Judged | None, ratio: np.ndarray) -> float:
    """How much less likely the truths are than the probabilities say, in errors; NaN if too few.

    The larger of two: of how often the answer is right, and of the likelihood of the truth.
    """
    rows = judged.confirmed_once() if judged is not None else None
    if rows is None or len(rows.truths) < LEAST_OUTCOMES or rows.outputs.shape[1] != len(ratio):
        return float("nan")
    return max(surprise(rows, ratio))


def _of_groups(groups: np.ndarray) -> np.ndarray:
    """The weight of each row: a group counts once."""
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / sizes[places]


def _normalised(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300))
