"""Predicted classes: a chi-squared test of how often the model answers each."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching import alibi
from models.watching.signals import Family, Signal, WatchPolicy, Window
from models.watching.views import (
    PROBABILITIES,
    calibrated,
    cannot_tell,
    compared,
    doubt,
    next_state,
    p_value_signal,
    split_by,
)

NAME = "chi2-classes"


def chi2(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """One signal: a change of the mix of predicted classes, whatever made it."""
    if reason := doubt(reference, window, policy):
        unsure = [cannot_tell(NAME, Family.OUTPUTS, window, state, reason)]
        return unsure, next_state(state, unsure)
    pair = compared(reference, window, policy, rng, views=(PROBABILITIES,))[PROBABILITIES]
    classes = pair.reference.shape[1]
    past, new = (side.argmax(axis=1) for side in (pair.reference, pair.window))
    p_value, statistic, _ = alibi.classes_test(past, new, classes)

    def test(one: np.ndarray, other: np.ndarray) -> float:
        return alibi.classes_test(one.argmax(axis=1), other.argmax(axis=1), classes)[0]

    p_value, stored = calibrated(p_value, split_by(test, pair.reference), pair, state, NAME, rng)
    shares = [np.bincount(side, minlength=classes) / len(side) for side in (past, new)]
    most = int(np.abs(shares[1] - shares[0]).argmax())
    meaning = (
        f"class {most} is predicted for {shares[1][most]:.0%} of the images, of the reference for "
        f"{shares[0][most]:.0%}; p {p_value:.2g} over all classes"
    )
    signal = p_value_signal(
        NAME, Family.OUTPUTS, pair, state, value=statistic, p_value=p_value, meaning=meaning
    )
    return [signal], next_state(state, [signal], stored)
