"""Propagated labels in use: pre-annotations for annotators, pseudo-labels for training.

A pre-annotation is shown only where it is likely to be right (SHOWN): it leads annotators, and a
wrong one costs more than the time it saves. Never on an audit sample: its label must not depend on
the labels of others.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import configuration
from labeling.batches.batch import Batch
from labeling.ledger.reasons import Reason
from labeling.quality.label_propagation import GRAPH_ROWS, VERSION, linear_model, propagate
from labeling.snapshots.table import SOFT_COLUMNS
from labeling.strategies.pool import Pool

SHOWN = 0.8  # confidence of a pre-annotation, at least; on the digits 98 of 100 such were right
_AT_ONCE = 65_536  # rows: rounding never needs the memory that the pool needs
_DIGITS = 5  # of a stored probability: the same predictions make the same bytes


@configuration("soft")
class SoftPolicy:
    """Which pseudo-labels are trained on. Their weight is a setting of the training."""

    enabled: bool = Field(  # so that gains of choosing and of pseudo-labels stay apart
        default=False, description="train on confident pseudo-labels of the pool"
    )
    least_confidence: float = Field(  # on the digits 99 of 100 such were right
        default=0.9, gt=0, le=1, description="of a pseudo-label"
    )
    share: float = Field(  # ten helped little more
        default=3.0,
        gt=0,
        allow_inf_nan=False,
        description="pseudo-labels for each label of a class, at most",
    )
    min_audit: int = Field(
        default=50, ge=1, description="audit labels needed to tell whether pseudo-labels hurt"
    )
    alpha: float = Field(  # leaving out what helps costs less than keeping what hurts
        default=0.2, gt=0, lt=0.5, description="of the test whether pseudo-labels hurt"
    )


def pre_annotate(
    batch: Batch,
    sample_ids: Sequence[str],
    pool: Pool,
    classes: Sequence[str],
    *,
    source: str,
) -> Batch:
    """The batch with the pre-annotations that the labels in `pool` make by propagation.

    Row i of `pool` is sample i of `sample_ids`, `source` made the embeddings. Of a large pool an
    even choice takes part beside the batch, so that the embeddings are never copied whole.
    """
    if pool.embeddings is None or pool.labelled is None or pool.labels is None:
        raise ValueError("labels spread over embeddings, and of these there are none; score first")
    known = pool.labels >= 0
    if not known.any():
        return with_pre_annotations(batch, [], np.empty((0, len(classes))), classes, source=source)
    chosen = np.flatnonzero(pd.Index(sample_ids).isin(batch.sample_ids))
    even = np.linspace(0, len(sample_ids) - 1, min(len(sample_ids), GRAPH_ROWS)).astype(int)
    near = np.union1d(chosen, even)
    probs = propagate(
        np.concatenate([pool.labelled[known], pool.embeddings[near]]),
        np.arange(np.count_nonzero(known)),
        pool.labels[known],
        len(classes),
    )[np.count_nonzero(known) :]
    names = [sample_ids[row] for row in chosen.tolist()]
    of_chosen = probs[np.searchsorted(near, chosen)]
    return with_pre_annotations(batch, names, of_chosen, classes, source=f"{VERSION}, {source}")


def with_pre_annotations(
    batch: Batch,
    sample_ids: Sequence[str],
    probs: np.ndarray,
    classes: Sequence[str],
    *,
    source: str,
) -> Batch:
    """The batch with pre-annotations: none for an audit sample, none less confident than SHOWN."""
    audited = batch.rows.loc[batch.rows["reason"] == Reason.AUDIT, "sample_id"]
    likeliest = _likeliest(sample_ids, probs, classes).rename(columns={"label": "pre_annotation"})
    is_shown = (likeliest["confidence"] >= SHOWN) & ~likeliest["sample_id"].isin(audited)
    shown = likeliest[is_shown]
    by_class = pd.Series(_by_class(probs[shown.index], classes), index=shown.index, dtype=object)
    shown = shown.assign(probs=by_class, pre_annotation_model=source)
    return batch.with_pre_annotations(shown)


def pseudo_label_rows(
    sample_ids: Sequence[str],
    probs: np.ndarray,
    classes: Sequence[str],
    labels: Sequence[str],
    policy: SoftPolicy,
    *,
    source: str,
) -> pd.DataFrame:
    """The pseudo-labels to train on: SOFT_COLUMNS, `source` naming the model.

    `labels` are those that are trained on: each class gets at most its share of them. The rows are
    drawn at random (by the sample's name) among the confident: the most confident would be copies
    of labelled samples.
    """
    likeliest = _likeliest(sample_ids, probs, classes)
    confident = likeliest[likeliest["confidence"] >= policy.least_confidence]
    lots = [hashlib.sha256(f"soft:{name}".encode()).hexdigest() for name in confident["sample_id"]]
    drawn = confident.assign(lot=lots).sort_values("lot")
    counts = Counter(labels)
    limit = np.array([policy.share * counts[name] for name in drawn["label"]])
    drawn = drawn[drawn.groupby("label").cumcount().to_numpy() < limit]
    written = [json.dumps(row) for row in _by_class(probs[drawn.index], classes)]
    drawn = drawn.assign(probs=written, source=source)
    rows = drawn.rename(columns={"confidence": "trust"})
    return rows.sort_values("sample_id", ignore_index=True)[SOFT_COLUMNS]


def head_with_and_without(
    labelled: np.ndarray,
    labels: np.ndarray,
    pseudo_labelled: np.ndarray,
    probs: np.ndarray,
    weights: np.ndarray,
    *,
    test: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of the test rows, by a linear model with the pseudo-labels and without.

    It is trained on embeddings `labelled` with their class numbers, and on `pseudo_labelled` ones
    with the class probabilities and weights of their pseudo-labels.
    """
    classes = probs.shape[1]
    rows, numbers = np.nonzero(probs > 0)  # a pseudo-label counts as each of its classes, in part
    both = linear_model(
        np.concatenate([labelled, pseudo_labelled[rows]]),
        np.concatenate([labels, numbers]),
        classes,
        np.concatenate([np.ones(len(labels)), weights[rows] * probs[rows, numbers]]),
    )
    return both(test), linear_model(labelled, labels, classes)(test)


def _likeliest(
    sample_ids: Sequence[str], probs: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """The likeliest class of each sample and how likely it is; its index is the row of `probs`."""
    if probs.shape != (len(sample_ids), len(classes)):
        raise ValueError(
            f"probabilities of shape {probs.shape} for {len(sample_ids)} samples and "
            f"{len(classes)} classes; give a row for each sample and a column for each class"
        )
    best, confidence = np.empty(len(probs), int), np.empty(len(probs))
    for start in range(0, len(probs), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        rounded = _rounded(probs[part])
        best[part], confidence[part] = rounded.argmax(axis=1), rounded.max(axis=1)
    return pd.DataFrame(
        {
            "sample_id": np.asarray(sample_ids, dtype=object),
            "label": np.asarray(classes, dtype=object)[best],
            "confidence": confidence,
        }
    )


def _by_class(probs: np.ndarray, classes: Sequence[str]) -> list[dict[str, float]]:
    """The probabilities of each row by class; of a whole pool it would be gigabytes."""
    return [dict(zip(classes, row, strict=True)) for row in _rounded(probs).tolist()]


def _rounded(probs: np.ndarray) -> np.ndarray:
    return np.round(probs.astype(float), _DIGITS)
