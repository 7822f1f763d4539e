"""Classifier uncertainty: whether the entropy of the class probabilities has moved."""

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
    moved_from,
    next_state,
    p_value_signal,
    split_by,
)

NAME = "uncertainty-entropy"


def uncertainty(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """One signal; the images that the model is least sure about are its exemplars."""
    if reason := doubt(reference, window, policy):
        unsure = [cannot_tell(NAME, Family.OUTPUTS, window, state, reason)]
        return unsure, next_state(state, unsure)
    pair = compared(reference, window, policy, rng, views=(PROBABILITIES,))[PROBABILITIES]
    p_value, distance = alibi.uncertainty_test(pair.reference, pair.window)

    def test(one: np.ndarray, other: np.ndarray) -> float:
        return alibi.uncertainty_test(one, other)[0]

    p_value, stored = calibrated(p_value, split_by(test, pair.reference), pair, state, NAME, rng)
    past, new = entropy(pair.reference), entropy(pair.window)
    meaning = (
        f"the mean entropy of the answers is {new.mean():.3f}, of the reference {past.mean():.3f}; "
        f"KS distance {distance:.3f}, p {p_value:.2g}"
    )
    moved = moved_from(past[:, None], new[:, None])
    signal = p_value_signal(
        NAME, Family.OUTPUTS, pair, state,
        value=distance, p_value=p_value, meaning=meaning, moved=moved,
    )  # fmt: skip
    return [signal], next_state(state, [signal], stored)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """The entropy of each row, in nats."""
    return -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
