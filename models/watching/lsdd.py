"""Alibi Detect's permutation tests on the embeddings: LSDD, and MMD beside the one of `mmd.py`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from models.watching import alibi
from models.watching.signals import Family, Signal, WatchPolicy, Window
from models.watching.views import (
    EMBEDDINGS,
    cannot_tell,
    compared,
    components,
    doubt,
    moved_from,
    next_state,
    p_value_signal,
)

PERMUTATIONS = 199
LEAST = 1 / (PERMUTATIONS + 1)  # p-value that so many permutations allow


def _detector(
    name: str,
    measure: str,
    test: Callable[..., tuple[float, float]],
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[list[Signal], dict[str, Any]]:
    """One signal on the principal components of the embeddings."""
    if reason := doubt(reference, window, policy):
        unsure = [cannot_tell(name, Family.INPUTS, window, state, reason)]
        return unsure, next_state(state, unsure)
    pair = components(compared(reference, window, policy, rng, views=(EMBEDDINGS,))[EMBEDDINGS])
    seed = int(rng.integers(2**31))
    p_value, value = test(pair.reference, pair.window, permutations=PERMUTATIONS, seed=seed)
    meaning = (
        f"the embeddings of {len(pair.window)} images are {value:.3g} ({measure}) from the "
        f"reference's {len(pair.reference)}, p {p_value:.2g}"
    )
    signal = p_value_signal(
        name, Family.INPUTS, pair, state, value=value, p_value=p_value, meaning=meaning,
        moved=moved_from(pair.reference, pair.window), threshold=LEAST,
    )  # fmt: skip
    return [signal], next_state(state, [signal])


lsdd = partial(_detector, "lsdd-embeddings", "LSDD", alibi.lsdd_test)
alibi_mmd = partial(_detector, "alibi-mmd-embeddings", "squared MMD", alibi.mmd_test)
