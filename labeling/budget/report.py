"""The report of `hone budget`: the curve's forecasts, the advice, and how good forecasts were."""

from dataclasses import dataclass, field

from core.intervals import Interval
from labeling.budget.learning_curve import CurvePoint, Forecast
from labeling.quality.chosen_vs_random import ChosenVsRandom


@dataclass(frozen=True)
class PricedForecast(Forecast):
    """A forecast for so many more labels, with what they cost; None without a price."""

    more: int
    cost: float | None
    cost_of_a_point: float | None  # of accuracy; None, too, where next to nothing is gained


@dataclass(frozen=True)
class PastForecast:
    """A forecast that could have been made of a round, beside the accuracy that it had."""

    snapshot: str  # after which it could have been made
    labels: int
    ahead: int  # labels that it is about
    forecast: float
    low: float
    high: float
    came: float
    before: float  # accuracy at the time of the forecast
    error: float


@dataclass(frozen=True)
class BatchAccuracy:
    """The accuracy of the model that chose a batch, on the labels that the batch then got.

    Naively over all of them, by LURE with the chance that each was drawn with, and by the audit
    samples; None where the batch does not have what it takes.
    """

    round: str
    model: str
    naive: Interval
    lure: Interval | None
    audit: Interval | None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BudgetReport:
    """What more labels would add and cost, the advice, and how far to trust it."""

    snapshot: str
    labels: int
    audit_rows: int
    models: int  # of past rounds, that the curve is fitted to
    features: str  # of the head on subsets
    price: float | None  # of a label
    advice: str
    reason: str
    accuracy: Forecast  # with the labels there are
    forecasts: list[PricedForecast]
    points: list[CurvePoint]
    past: list[PastForecast]
    past_error: float | None  # mean, absolute
    past_error_of_no_change: float | None  # the same for expecting the accuracy to stay
    batches: list[BatchAccuracy]
    choosing: ChosenVsRandom | None
    picture: str  # path of the learning curve
    champion_accuracy: str | None = None  # on the reporting part of the audit, in words
