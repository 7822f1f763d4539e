"""What is seen of a pool is refused where it cannot be: by the first sample it is wrong for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from labeling.strategies.pool import Pool

ROUNDING = 1e-3  # how far float32 probabilities of one sample may be from a sum of one
ROWS = 65_536  # looked at together: a check never needs the memory that the pool needs


def sorted_by_sample(pool: pd.DataFrame, seen: Pool) -> tuple[pd.DataFrame, Pool]:
    """The same rows sorted by sample, so that nothing depends on how they came."""
    if pool["sample_id"].is_monotonic_increasing:
        return pool, seen  # without a copy: a million embeddings are two gigabytes
    order = pool["sample_id"].argsort(kind="stable").to_numpy()
    return pool.iloc[order], replace(
        seen,
        probs=None if seen.probs is None else seen.probs[order],
        embeddings=None if seen.embeddings is None else seen.embeddings[order],
        ensemble=None if seen.ensemble is None else seen.ensemble[:, order],
    )


def validate_predictions(pool: pd.DataFrame, seen: Pool) -> None:
    """Refuse a pool with a sample twice, probabilities and embeddings that are none."""
    twice = pool["sample_id"].duplicated().to_numpy()
    if twice.any():
        raise ValueError(f"{_whose('are in the pool twice', twice, pool)}; give each one row")
    if pool.empty:
        return
    if seen.probs is not None:
        _check_probs(seen.probs, pool)
    for look in () if seen.ensemble is None else seen.ensemble:
        _check_probs(look, pool)
    if seen.embeddings is not None:
        _check_embeddings(seen.embeddings, pool)
        _check_labelled(seen)


def _check_probs(probs: np.ndarray, pool: pd.DataFrame) -> None:
    if probs.ndim != 2 or len(probs) != len(pool) or probs.shape[1] < 2:
        raise ValueError(
            f"probabilities have shape {probs.shape} for {len(pool)} samples; "
            "one row per sample and at least two classes are needed"
        )
    _refuse("have a probability that is not finite", _where(_strange, probs), pool)
    _refuse("have probabilities that do not sum to one", _where(_off, probs), pool)


def _check_embeddings(embeddings: np.ndarray, pool: pd.DataFrame) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(pool) or not embeddings.shape[1]:
        raise ValueError(
            f"embeddings have shape {embeddings.shape} for {len(pool)} samples; "
            "one row per sample is needed"
        )
    _refuse("have an embedding that is not finite", _where(_strange, embeddings), pool)


def _check_labelled(seen: Pool) -> None:
    labelled, labels = seen.labelled, seen.labels
    if labelled is None or seen.embeddings is None:
        return
    if labelled.ndim != 2 or labelled.shape[1] != seen.embeddings.shape[1]:
        raise ValueError(
            f"embeddings of the labelled have shape {labelled.shape}, those of the pool "
            f"{seen.embeddings.shape}; both must come from one model"
        )
    if _where(_strange, labelled).any():
        raise ValueError(
            "embeddings of the labelled are not all finite; score them anew with this model"
        )
    if labels is not None and len(labels) != len(labelled):
        raise ValueError(f"there are {len(labels)} labels for {len(labelled)} labelled embeddings")


def _strange(rows: np.ndarray) -> np.ndarray:
    return ~np.isfinite(rows).all(axis=1)


def _off(probs: np.ndarray) -> np.ndarray:
    return (np.abs(probs.sum(axis=1) - 1) > ROUNDING) | (probs < 0).any(axis=1)


def _where(is_bad: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Which rows are bad, found block by block."""
    found = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), ROWS):
        found[start : start + ROWS] = is_bad(values[start : start + ROWS])
    return found


def _refuse(what: str, bad: np.ndarray, pool: pd.DataFrame) -> None:
    if bad.any():
        raise ValueError(
            f"{_whose(what, bad, pool)}; score the pool anew, or choose at random "
            "(strategy random, without balance, quotas and relabel_share)"
        )


def _whose(what: str, bad: np.ndarray, pool: pd.DataFrame) -> str:
    first = pool["sample_id"].to_numpy()[bad][0]
    return f"{bad.sum()} of {len(bad)} samples {what}, the first is {first}"
