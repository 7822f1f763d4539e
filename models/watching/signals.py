"""Signals: one measurement of a window against its threshold, and the policy that sets it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from core.configuration import configuration


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
    """The thresholds at which a difference counts as drift.

    Bound: with traffic like the reference, a check reports drift with a probability of at most
    `false_alarms` over all signals together (Bonferroni over signals and their columns). Checked
    every hour at 0.001 that is one false alarm in 1,000 hours, or on 2.4 % of days.
    The bound is a mean over references: an unlucky reference alarms more often, so a shift should
    appear in more than one window before it is considered large.
    """

    window: int = Field(  # more served rows are subsampled to this number
        default=200, ge=2, description="served predictions tested at once"
    )
    min_rows: int = Field(  # below, only a very large shift is detected
        default=100, ge=2, description="different images on either side, at least"
    )
    false_alarms: float = Field(  # each costs annotators a round of labelling
        default=0.001, gt=0, le=0.5, description="probability of a false alarm in one check"
    )
    min_effect: float = Field(  # less than a tenth of the rows moved is not worth a round
        default=0.1, ge=0, lt=1, description="least KS distance that counts as drift"
    )

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.min_rows > self.window:
            raise ValueError(
                f"min_rows is {self.min_rows} with a window of {self.window}; "
                "choose from 2 to the window"
            )
        return self


@dataclass(frozen=True)
class Signal:
    """One measurement against its threshold; for UNKNOWN, `detail` has the reason."""

    name: str
    outcome: Shift
    statistic: float | None  # the detector's own measure: of `ks` the largest distance of a column
    p_value: float | None  # corrected for the number of columns
    threshold: float | None  # of p_value
    rows: int  # of the window, as tested
    detail: str


@dataclass(frozen=True)
class Decision:
    """The action on the signals of a window, with its reason as a sentence."""

    action: Action
    reason: str


class Detector(Protocol):
    """A test of one view: rows of the reference against rows of the window, of equal width."""

    def __call__(
        self,
        name: str,
        reference: np.ndarray,
        window: np.ndarray,
        *,
        threshold: float,
        policy: WatchPolicy,
    ) -> Signal:
        """The signal `name`, which is drift with a probability of at most `threshold` by chance."""
