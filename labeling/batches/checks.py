"""Predictions that no batch can be chosen by are refused, naming the first sample they fail for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from labeling.strategies.pool import Pool

ROUNDING = 1e-3  # how far float32 probabilities of one sample may be from a sum of one
ROWS = 65_536  # checked together: a check never needs the memory that the pool needs


def sorted_by_sample(candidates: pd.DataFrame, predictions: Pool) -> tuple[pd.DataFrame, Pool]:
    """The same rows sorted by sample, so that nothing depends on the order they came in."""
    if candidates["sample_id"].is_monotonic_increasing:
        return candidates, predictions  # without a copy: a million embeddings are two gigabytes
    order = candidates["sample_id"].argsort(kind="stable").to_numpy()
    probs, embeddings, ensemble = predictions.probs, predictions.embeddings, predictions.ensemble
    return candidates.iloc[order], replace(
        predictions,
        probs=None if probs is None else probs[order],
        embeddings=None if embeddings is None else embeddings[order],
        ensemble=None if ensemble is None else ensemble[:, order],
    )


def validate_predictions(candidates: pd.DataFrame, predictions: Pool) -> None:
    """Refuse a sample that is there twice, and probabilities and embeddings that are none."""
    doubled = candidates["sample_id"].duplicated().to_numpy()
    if doubled.any():
        raise ValueError(
            f"{_count_and_first('are in the pool twice', doubled, candidates)}; give each one row"
        )
    if candidates.empty:
        return
    if predictions.probs is not None:
        _check_probs(predictions.probs, candidates)
    for member in () if predictions.ensemble is None else predictions.ensemble:
        _check_probs(member, candidates)
    if predictions.embeddings is not None:
        _check_embeddings(predictions.embeddings, candidates)
        _check_labelled(predictions)


def _check_probs(probs: np.ndarray, candidates: pd.DataFrame) -> None:
    if probs.ndim != 2 or len(probs) != len(candidates) or probs.shape[1] < 2:
        raise ValueError(
            f"probabilities have shape {probs.shape} for {len(candidates)} samples; "
            "one row per sample and at least two classes are needed"
        )
    _refuse("have a probability that is not finite", _where(_not_finite, probs), candidates)
    _refuse("have probabilities that do not sum to one", _where(_no_probs, probs), candidates)


def _check_embeddings(embeddings: np.ndarray, candidates: pd.DataFrame) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(candidates) or not embeddings.shape[1]:
        raise ValueError(
            f"embeddings have shape {embeddings.shape} for {len(candidates)} samples; "
            "one row per sample is needed"
        )
    _refuse("have an embedding that is not finite", _where(_not_finite, embeddings), candidates)


def _check_labelled(predictions: Pool) -> None:
    labelled, labels = predictions.labelled, predictions.labels
    if labelled is None or predictions.embeddings is None:
        return
    if labelled.ndim != 2 or labelled.shape[1] != predictions.embeddings.shape[1]:
        raise ValueError(
            f"embeddings of the labelled have shape {labelled.shape}, those of the pool "
            f"{predictions.embeddings.shape}; both must come from one model"
        )
    if _where(_not_finite, labelled).any():
        raise ValueError(
            "embeddings of the labelled are not all finite; score them anew with this model"
        )
    if labels is not None and len(labels) != len(labelled):
        raise ValueError(f"there are {len(labels)} labels for {len(labelled)} labelled embeddings")


def _not_finite(rows: np.ndarray) -> np.ndarray:
    return ~np.isfinite(rows).all(axis=1)


def _no_probs(rows: np.ndarray) -> np.ndarray:
    return (np.abs(rows.sum(axis=1) - 1) > ROUNDING) | (rows < 0).any(axis=1)


def _where(is_bad: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Which rows are bad, computed block by block."""
    bad = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values), ROWS):
        bad[start : start + ROWS] = is_bad(values[start : start + ROWS])
    return bad


def _refuse(problem: str, bad: np.ndarray, candidates: pd.DataFrame) -> None:
    if bad.any():
        raise ValueError(
            f"{_count_and_first(problem, bad, candidates)}; score the pool anew, or choose at "
            "random (strategy random, without balance, quotas and relabel_share)"
        )


def _count_and_first(problem: str, bad: np.ndarray, candidates: pd.DataFrame) -> str:
    first = candidates["sample_id"].to_numpy()[bad][0]
    return f"{bad.sum()} of {len(bad)} samples {problem}, the first is {first}"
