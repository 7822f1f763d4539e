"""What more labels would bring and cost: a learning curve, its forecast, and whether to go on.

Mistakes fall with the number of labels n like a * n^-b + c: fast at first, then ever slower, down
to what no label mends. Two kinds of points say how: the models of past rounds, all judged on the
same audit rows; and a cheap head trained on nested subsets of the labels, which has the shape from
the first snapshot on, but is wrong a few times as often, and is therefore scaled to the models.

Error bars are a bootstrap: of the audit rows (the same for all points, so that what they have in
common cancels), of the orders of the subsets, and of the luck of each training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from core.configuration import configuration

POWERS = np.linspace(0.05, 2.0, 40)  # b: 0.5 is what theory has for the worst case, 1 for the best
ROUGH = 0.1  # of its own size: by how much no curve of this kind is right about a point
LUCK = 0.15  # the same for one training of a network, until there are rounds to see it from
LUCK_ROUNDS = 2  # that the assumption above counts as
TILT = 0.2  # by which the power of one network may differ from a head's; less with more of them
LEAST_ROWS = 30
DRAWS = 400
DOUBT = 0.5  # of a gain: on the digits its bounds hold in 9 of 10 cases so, in half without
TAIL = 2.5  # percent left out at either end: the bars hold 95 %
GO_ON, STOP, UNSURE = "GO ON", "STOP", "UNSURE"


@configuration("budget")
class BudgetPolicy:
    """What one looks ahead to, and what is worth its labels."""

    ahead: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(100, 500, 1000), min_length=1, description="numbers of further labels forecast"
    )
    horizon: int = Field(  # fewer add less than can be measured
        default=500, ge=1, description="further labels that the advice is about"
    )
    least_gain: float = Field(  # under a point nobody sees a difference
        default=0.01, ge=0, lt=1, description="gain of accuracy that they must bring"
    )
    worth: float | None = Field(
        default=None, gt=0, description="price of one point (0.01) of accuracy, at most"
    )


@dataclass(frozen=True)
class CurveData:
    """Who was mistaken on which audit row, and after how many labels."""

    own_labels: np.ndarray  # [models] that each was trained with
    own_mistaken: np.ndarray  # [models, rows] bool
    head_labels: np.ndarray  # [subsets]
    head_mistaken: np.ndarray  # [subsets, orders, rows] bool


@dataclass(frozen=True)
class CurvePoint:
    """A point that the curve was fitted to."""

    labels: int
    accuracy: float
    deviation: float  # of the accuracy
    model: bool  # of the model of a round, else of the head on a subset


@dataclass(frozen=True)
class Forecast:
    """Accuracy with so many labels, and what is gained on the way; both with 95 % bounds.

    The bounds of the accuracy hold for one network, lucky or not; the gain is that on average.
    """

    labels: int
    accuracy: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True)
class LearningCurve:
    """The curve that fits best (first row) and those of the bootstrap, each as a, b and c."""

    curves: np.ndarray  # [1 + draws, 3]
    luck: np.ndarray  # [1 + draws]: by which the mistakes of one training are more or fewer
    doubt: np.ndarray  # [1 + draws]: by which what lies ahead is not as the curve has it
    unit: float  # labels that n is counted in
    labels: int  # of the newest model or subset: where the forecast starts
    points: tuple[CurvePoint, ...]

    def errors(self, labels: Sequence[int] | np.ndarray) -> np.ndarray:
        """The share of mistakes with so many labels, [1 + draws, labels]."""
        falling, power, floor = self.curves.T[:, :, None]
        counted = np.asarray(labels, dtype=float) / self.unit
        return np.asarray(np.minimum(falling * counted**-power + floor, 1))

    def forecast(self, labels: int) -> Forecast:
        """What is to be expected with so many labels in all, and gained from now until then."""
        now, then = self.errors([self.labels, labels]).T
        low, high = np.percentile(1 - np.minimum(then * self.luck, 1), [TAIL, 100 - TAIL])
        ahead = np.minimum((now - then) * self.doubt, now)  # no more than all mistakes mended
        less, more = np.percentile(ahead, [TAIL, 100 - TAIL])
        gain = float(now[0] - then[0])
        bounds = float(low), float(high)
        return Forecast(int(labels), 1 - float(then[0]), *bounds, gain, float(less), float(more))


def learning_curve(evidence: CurveData, rng: np.random.Generator) -> LearningCurve:
    """The curve through all points, each counting by how well it is known."""
    _check(evidence)
    models = len(evidence.own_labels)
    labels = np.concatenate([evidence.own_labels, evidence.head_labels]).astype(float)
    own, heads = _resampled(evidence, rng)
    counted = labels / labels.max()
    luck = LUCK
    if models:
        own, heads, luck = _in_step(counted, own, heads, rng)
    errors = np.hstack([own, heads])
    deviations = errors[1:].std(axis=0)
    points = zip(labels, 1 - errors[0], deviations, np.arange(len(labels)) < models, strict=True)
    newest = evidence.own_labels if models else evidence.head_labels
    return LearningCurve(
        curves=fit_curves(counted, errors, deviations),
        luck=np.exp(np.r_[0, rng.normal(0, luck, size=DRAWS)]),
        doubt=np.exp(np.r_[0, rng.normal(0, DOUBT, size=DRAWS)]),
        unit=float(labels.max()),
        labels=int(newest.max()),
        points=tuple(
            CurvePoint(int(count), float(accuracy), float(deviation), bool(model))
            for count, accuracy, deviation, model in points
        ),
    )


def fit_curves(counted: np.ndarray, errors: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """For each row of errors the a, b and c of least squares; a and c are never negative.

    A point counts by its deviation, and by what no curve of this kind can be right about.
    """
    weights = 1 / (deviations**2 + (ROUGH * errors) ** 2)
    best = np.full(len(errors), np.inf)
    curves = np.empty((len(errors), 3))
    for power in POWERS:
        falling, floor = _straight(counted**-power, errors, weights)
        fitted = falling[:, None] * counted**-power + floor[:, None]
        loss = (weights * (errors - fitted) ** 2).sum(axis=1)
        better = loss < best
        best[better] = loss[better]
        curves[better] = np.column_stack([falling, np.full_like(floor, power), floor])[better]
    return curves


def advise(
    curve: LearningCurve,
    policy: BudgetPolicy,
    *,
    price: float | None = None,
    usual_error: float | None = None,
) -> tuple[str, str]:
    """Whether to label on, and why; what is not known is never a reason to stop.

    `usual_error` is how far forecasts of past rounds were off.
    """
    ahead = curve.forecast(curve.labels + policy.horizon)
    gain = (
        f"{policy.horizon} more labels are forecast to add {_points(ahead.gain)} "
        f"({100 * ahead.gain_low:.1f} to {100 * ahead.gain_high:.1f})"
    )
    if price is not None and policy.worth is not None:
        point, at_best = (
            price * policy.horizon / max(100 * share, 0.01)  # a hundredth of a point is nothing
            for share in (ahead.gain, ahead.gain_high)
        )
        if point > policy.worth:
            costs = f"a point would cost {point:,.2f}, {at_best:,.2f} at best"
            outcome = STOP if at_best > policy.worth else UNSURE
            return outcome, f"{gain}: {costs}; it is worth {policy.worth:,.2f}"
    if ahead.gain_high < policy.least_gain:
        return STOP, f"{gain}: even at best less than {_points(policy.least_gain)}; it is flat"
    if ahead.gain < policy.least_gain:
        return UNSURE, f"{gain}: probably less than {_points(policy.least_gain)}, but not surely"
    if usual_error is not None and ahead.gain < usual_error:
        return UNSURE, f"{gain}, and past forecasts were off by {_points(usual_error)}"
    if ahead.gain_low <= 0.001:
        return UNSURE, f"{gain}: perhaps nothing at all; more audit samples would tell"
    return GO_ON, f"{gain}, and {_points(policy.least_gain)} is worth them"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _resampled(evidence: CurveData, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The errors of models and heads, [1 + draws, points]: as observed, and on rows drawn again."""
    rows = evidence.head_mistaken.shape[-1]
    drawn = np.vstack([np.ones(rows), rng.multinomial(rows, np.full(rows, 1 / rows), size=DRAWS)])
    drawn /= drawn.sum(axis=1, keepdims=True)
    orders = evidence.head_mistaken.shape[1]
    taken = np.vstack(
        [np.ones(orders), rng.multinomial(orders, np.full(orders, 1 / orders), size=DRAWS)]
    )
    by_order = np.einsum("dr,sor->dso", drawn, evidence.head_mistaken, optimize=True)
    heads = np.einsum("dso,do->ds", by_order, taken / orders)
    least = 0.5 / rows  # none mistaken of so many is not never mistaken
    return np.maximum(drawn @ evidence.own_mistaken.T, least), np.maximum(heads, least)


def _in_step(
    counted: np.ndarray, own: np.ndarray, heads: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """The errors of the models with the luck of training, those of the heads to scale, the luck.

    How much luck there is follows from how far the models lie off the shape of the heads.
    """
    models = own.shape[1]
    shape = fit_curves(counted[models:], heads, heads[1:].std(axis=0))
    expected = shape[:, :1] * counted[:models] ** -shape[:, 1:2] + shape[:, 2:]
    expected = np.maximum(expected, 1e-6)
    off = np.log(own[0] / expected[0])
    squares = ((off - off.mean()) ** 2).sum()
    luck = float(np.sqrt((squares + LUCK_ROUNDS * LUCK**2) / (models - 1 + LUCK_ROUNDS)))
    lucky = own.copy()
    lucky[1:] *= np.exp(rng.normal(0, luck, size=own[1:].shape))
    weights = 1 / (lucky[1:].std(axis=0) ** 2 + (ROUGH * own[0]) ** 2)
    scale = (weights * lucky * expected).sum(axis=1) / (weights * expected**2).sum(axis=1)
    tilt = np.r_[0, rng.normal(0, TILT / models, size=len(heads) - 1)]
    return lucky, heads * scale[:, None] * counted[models:] ** tilt[:, None], luck


def _straight(
    falling: np.ndarray, errors: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The slope and the floor of errors over `falling`, neither negative, for each row."""
    all_, first = weights.sum(axis=1), weights @ falling
    second, sum_ = weights @ falling**2, (weights * errors).sum(axis=1)
    both = (weights * errors) @ falling
    slope = (all_ * both - first * sum_) / np.maximum(all_ * second - first**2, 1e-12)
    floor = (sum_ - slope * first) / all_
    slope = np.where(floor < 0, both / second, slope)
    flat = slope < 0
    return np.where(flat, 0, slope), np.where(flat, sum_ / all_, np.maximum(floor, 0))


def _check(evidence: CurveData) -> None:
    rows = evidence.head_mistaken.shape[-1]
    shapes = evidence.own_mistaken.shape, evidence.head_mistaken.shape
    if shapes[0] != (len(evidence.own_labels), rows) or (shapes[1][0] != len(evidence.head_labels)):
        raise ValueError(f"mistakes of shapes {shapes} do not belong to {rows} audit rows")
    if rows < LEAST_ROWS:
        raise ValueError(
            f"{rows} audit samples have a label; {LEAST_ROWS} are needed to tell one point of a "
            "learning curve from the next: label more of them (`hone label --audit-share 0.5`)"
        )
