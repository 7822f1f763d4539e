"""The learning curve of a workspace's snapshots, and how good its forecasts of the past were."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from labeling.budget.learning_curve import CurveData, LearningCurve, learning_curve
from labeling.budget.report import PastForecast, PricedForecast
from labeling.budget.subset_curve import subset_errors
from labeling.ledger.reasons import Reason, Split
from labeling.quality.chosen_vs_random import ChosenVsRandom, compare_to_random

LEAST_GAIN = 1e-4  # of accuracy, for which the cost of a point is worth dividing


@dataclass(frozen=True)
class Round:
    """A snapshot, and the newest model that was trained on it."""

    name: str
    table: pd.DataFrame
    version: str | None

    @property
    def labelled(self) -> pd.DataFrame:
        """The rows with labels to learn from."""
        return self.table[self.table["split"].isin([Split.TRAIN, Split.VAL])]

    @property
    def audit(self) -> pd.DataFrame:
        """The rows that models are judged on."""
        return self.table[self.table["split"] == Split.TEST]


@dataclass(frozen=True)
class Observations:
    """The features of each sample, and the class that each model predicts for each audit row."""

    features: dict[str, np.ndarray]
    predicted: dict[str, dict[str, str]]  # version -> sample_id -> class
    source: str  # of the features, in words


def curve_after(past: list[Round], observed: Observations, seed: int) -> LearningCurve:
    """The curve as it could be known after the last of these rounds."""
    last = past[-1]
    rng = np.random.default_rng([seed, len(last.table)])
    audit, labelled = _observed(last.audit, observed), _observed(last.labelled, observed)
    sizes, mistaken = subset_errors(
        _features(observed, labelled), labelled["label"].tolist(), _features(observed, audit),
        audit["label"].tolist(), rng,
    )  # fmt: skip
    trained = [one for one in past if one.version is not None]
    own = [_is_mistaken(observed.predicted[str(one.version)], audit) for one in trained]
    data = CurveData(
        own_labels=np.array([len(one.labelled) for one in trained], dtype=int),
        own_mistaken=np.array(own, dtype=bool).reshape(len(trained), len(audit)),
        head_labels=sizes,
        head_mistaken=mistaken,
    )
    return learning_curve(data, rng)


def score_forecasts(past: list[Round], observed: Observations, seed: int) -> list[PastForecast]:
    """Each forecast that the round before could have made of a round, with the actual accuracy.

    The actual accuracy is that of its time, on the audit rows of its own snapshot: where these
    changed, as after drift, no forecast could know, and that counts as its error all the same.
    """
    trained = [place for place, one in enumerate(past) if one.version is not None]
    rows = []
    for before, after in pairwise(trained):
        try:
            curve = curve_after(past[: before + 1], observed, seed)
        except ValueError:
            continue  # at that time no forecast was possible
        ahead = curve.forecast(len(past[after].labelled))
        came, was = (
            _accuracy(observed.predicted[str(past[one].version)], past[after].audit)
            for one in (after, before)
        )
        rows.append(
            PastForecast(
                snapshot=past[before].name,
                labels=curve.labels,
                ahead=ahead.labels,
                forecast=ahead.accuracy,
                low=ahead.low,
                high=ahead.high,
                came=came,
                before=was,
                error=came - ahead.accuracy,
            )
        )
    return rows


def priced_forecast(curve: LearningCurve, more: int, price: float | None) -> PricedForecast:
    """The forecast for so many more labels, and what they cost."""
    ahead = curve.forecast(curve.labels + more)
    cost = None if price is None else price * more
    of_a_point = None
    if cost is not None and ahead.gain > LEAST_GAIN:
        of_a_point = cost / (100 * ahead.gain)
    return PricedForecast(**asdict(ahead), more=more, cost=cost, cost_of_a_point=of_a_point)


def compare_choosing(
    last: Round, observed: Observations, reasons: Mapping[str, str], seed: int
) -> ChosenVsRandom | None:
    """How labels that a strategy chose teach compared with random ones; None with too few.

    `reasons` has the reason of each sample that a strategy chose or that was drawn at random.
    """
    labelled = _observed(last.labelled, observed)
    labelled = labelled[labelled["sample_id"].isin(list(reasons))]
    audit = _observed(last.audit, observed)
    if labelled.empty:
        return None
    return compare_to_random(
        _features(observed, labelled),
        labelled["label"].to_numpy(dtype=object),
        (labelled["sample_id"].map(dict(reasons)) == Reason.RANDOM).to_numpy(),
        _features(observed, audit),
        audit["label"].to_numpy(dtype=object),
        np.random.default_rng(seed),
    )


def _observed(rows: pd.DataFrame, observed: Observations) -> pd.DataFrame:
    return rows[rows["sample_id"].isin(observed.features)]


def _features(observed: Observations, rows: pd.DataFrame) -> np.ndarray:
    if rows.empty:
        raise ValueError("no audit sample has a label yet; answer some, then `hone collect`")
    return np.stack([observed.features[name] for name in rows["sample_id"]])


def _is_mistaken(predicted: Mapping[str, str], audit: pd.DataFrame) -> np.ndarray:
    names = audit["sample_id"].map(dict(predicted))
    return np.asarray(names.to_numpy() != audit["label"].to_numpy())


def _accuracy(predicted: Mapping[str, str], audit: pd.DataFrame) -> float:
    return float(np.mean(~_is_mistaken(predicted, audit)))
