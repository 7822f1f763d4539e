"""Signals: what a detector says of a window of served traffic, and the policy of the watch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from core.configuration import OneOf, configuration
from core.image_statistics import STATISTICS

DETECTORS: "dict[str, Detector]" = {}  # by name; `models.watching` fills it
QUARTER_HOURS = 90 * 24.0
# Of a signal about the service or about outcomes: with equal weights eight quiet ones would hide
# what a detector of images has gathered.
SUPPORTING = 0.25


class Family(StrEnum):
    """The part of the service that a signal is about."""

    INPUTS = "inputs"
    OUTPUTS = "outputs"
    OUTCOMES = "outcomes"
    SERVICE = "service"


class Shift(StrEnum):
    """The outcome of one test of a window against the reference."""

    DRIFT = "drift"
    NONE = "no drift"
    UNKNOWN = "cannot tell"


class Action(StrEnum):
    """The action taken on the signals of a window."""

    NONE = "none"
    LABEL_SERVED = "label-served"
    CANNOT_TELL = "cannot-tell"


@configuration("watch")
class WatchPolicy:
    """What the watch may cost in false alarms, and what it does about a drift.

    `alarms_per_quarter` is the one budget of all signals and all checks together: with clean
    traffic, no more false alarms are expected in 90 days.
    """

    alarms_per_quarter: float = Field(
        default=1.0, gt=0, le=100, description="false alarms expected in 90 days, at most"
    )
    period_hours: float = Field(
        default=1.0, ge=0.01, le=2160, description="hours between two checks"
    )
    window: int = Field(
        default=1000, ge=2, le=100_000, description="rows tested, of all since the last check"
    )
    min_rows: int = Field(
        default=50, ge=2, description="different images served before a check is made"
    )
    detectors: tuple[Annotated[str, OneOf(DETECTORS)], ...] = Field(
        default=("martingale",), min_length=1, description="detectors that may alarm"
    )
    psi_threshold: float = Field(
        default=0.2, gt=0, le=10, description="population stability index that counts as drift"
    )
    decay: float = Field(
        default=0.05, gt=0, lt=1, description="F1 below its value at release that is a decay"
    )
    cooldown_hours: float = Field(
        default=24.0, ge=0, le=2160, description="hours in which a drift is not answered twice"
    )
    retrain_when: Literal["drift", "drift and decay", "drift or decay", "never"] = Field(
        default="drift", description="what starts a training"
    )
    max_model_age_days: float = Field(
        default=0.0, ge=0, le=36_500, description="days until a model is trained anew; 0: never"
    )
    halt: Literal["never", "abstain", "refuse"] = Field(
        default="never", description="what the service does when accuracy fell below halt_below"
    )
    halt_below: float = Field(
        default=0.5, ge=0, le=1, description="accuracy, measured or estimated with evidence"
    )
    weak_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="weight of a weak truth in training, of a label's 1; above 0.5 it is 0.5",
    )
    repeats_share: float = Field(
        default=0.5, ge=0, le=1, description="of a day's weak truths that say what was served"
    )
    max_lag_hours: float = Field(
        default=2.0, gt=0, le=2160, description="age of traffic that nobody looked at"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_successors(cls, given: Any) -> Any:
        """Refuse the fields of earlier versions with the names of those that replaced them."""
        named = getattr(given, "kwargs", given)
        for old, new in (
            ("false_alarms", "alarms_per_quarter (0.001 a check was 2.2 a quarter)"),
            ("min_effect", "alarms_per_quarter: evidence decides, of small effects too"),
        ):
            if isinstance(named, Mapping) and old in named:
                raise ValueError(f"{old} is no longer a setting; choose {new}")
        return given

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.min_rows > self.window:
            raise ValueError(
                f"min_rows is {self.min_rows} with a window of {self.window}; "
                "choose from 2 to the window"
            )
        if self.checks_planned < 2 * self.alarms_per_quarter:
            raise ValueError(
                f"alarms_per_quarter is {self.alarms_per_quarter:g} of {self.checks_planned:g} "
                "checks at this period_hours: nearly each would alarm; choose half of them at most"
            )
        return self

    @property
    def checks_planned(self) -> float:
        """The checks of a quarter at this period."""
        return QUARTER_HOURS / self.period_hours


@dataclass(frozen=True)
class Window:
    """Rows of served traffic or of the reference; row i is everywhere the same prediction."""

    outputs: np.ndarray  # (n, classes) calibrated probabilities
    embeddings: np.ndarray  # (n, width)
    statistics: np.ndarray  # (n, len(STATISTICS)); NaN where none was recorded
    groups: np.ndarray  # (n,) numbers of near-duplicates and sessions; a group counts once
    labels: np.ndarray | None = None  # (n,) class numbers, -1 where unknown: of a reference
    sources: np.ndarray | None = None  # (n,) texts
    known: np.ndarray | None = None  # (n,) booleans: rows of a drift that was accepted or answered
    broken: int = 0  # rows that were set aside

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths."""
        for each in fields(self):
            rows = getattr(self, each.name)
            if isinstance(rows, np.ndarray) and len(rows) != len(self.outputs):
                raise ValueError(
                    f"{each.name} has {len(rows)} rows and outputs {len(self.outputs)}; "
                    "give a row of each for every prediction"
                )

    @classmethod
    def of(
        cls,
        outputs: np.ndarray,
        embeddings: np.ndarray,
        statistics: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        **more: Any,
    ) -> "Window":
        """A window of the rows that are finite; the others are set aside and counted.

        Without statistics they are NaN, without groups each row is one of its own.
        """
        if statistics is None:
            statistics = np.full((len(outputs), len(STATISTICS)), np.nan, np.float32)
        if groups is None:
            groups = np.arange(len(outputs))
        whole = cls(outputs, embeddings, statistics, groups, **more)
        sound = np.isfinite(outputs).all(axis=1) & np.isfinite(embeddings).all(axis=1)
        taken = whole.take(np.flatnonzero(sound))
        return replace(taken, broken=whole.broken + int((~sound).sum()))

    def take(self, rows: np.ndarray) -> "Window":
        """The window of these rows only."""
        arrays = {
            each.name: getattr(self, each.name)[rows]
            for each in fields(self)
            if isinstance(getattr(self, each.name), np.ndarray)
        }
        return replace(self, **arrays)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class Signal:
    """One measurement of a window; for UNKNOWN, `meaning` says what is missing."""

    name: str  # "martingale", "ks-probabilities", "lag", "f1"
    family: Family
    outcome: Shift  # by its own threshold
    value: float | None  # its own measure: a distance, a PSI, a share, an F1
    threshold: float | None  # of value, or of the evidence where that decides
    evidence: float  # natural logarithm of the e-value of this window; 0.0 when it cannot tell
    accumulated: float  # evidence + max(accumulated before, 0)
    p_value: float | None
    rows: int
    groups: int
    meaning: str  # one sentence for a person
    exemplars: tuple[int, ...] = ()  # rows of the window that moved most, most first
    detail: Mapping[str, float] = field(default_factory=dict)  # evidence per view, an interval
    weight: float = 1.0  # in the evidence of all signals together; 0: a note, which never alarms


class Detector(Protocol):
    """A test of windows of traffic against the reference, one after the other."""

    def __call__(
        self,
        reference: Window,
        window: Window,
        state: Mapping[str, Any],
        *,
        policy: WatchPolicy,
        rng: np.random.Generator,
    ) -> tuple[list[Signal], dict[str, Any]]:
        """Its signals, always the same ones, and the state for the next window.

        A state is JSON; `{}` is that of a beginning. What signals have accumulated is in its field
        `accumulated`, by the name of the signal, so that `evidence.restarted` can reset it.
        """
