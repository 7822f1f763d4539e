"""Propagated labels as pre-annotations for annotators.

A pre-annotation is shown only where it is likely to be right (SHOWN): it leads annotators, and a
wrong one costs more than the time it saves. Never on an audit sample: its label must not depend on
the labels of others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from labeling.batches.batch import Batch
from labeling.ledger.reasons import Reason
from labeling.quality.label_propagation import GRAPH_ROWS, VERSION, propagate
from labeling.strategies.pool import Pool

SHOWN = 0.8  # confidence of a pre-annotation, at least; on the digits 98 of 100 such were right
_DIGITS = 5  # of a stored probability: the same predictions make the same bytes


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


def _likeliest(
    sample_ids: Sequence[str], probs: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """The likeliest class of each sample and how likely it is; its index is the row of `probs`."""
    if probs.shape != (len(sample_ids), len(classes)):
        raise ValueError(
            f"probabilities of shape {probs.shape} for {len(sample_ids)} samples and "
            f"{len(classes)} classes; give a row for each sample and a column for each class"
        )
    rounded = _rounded(probs)
    return pd.DataFrame(
        {
            "sample_id": np.asarray(sample_ids, dtype=object),
            "label": np.asarray(classes, dtype=object)[rounded.argmax(axis=1)],
            "confidence": rounded.max(axis=1),
        }
    )


def _by_class(probs: np.ndarray, classes: Sequence[str]) -> list[dict[str, float]]:
    """The probabilities of each row by class."""
    return [dict(zip(classes, row, strict=True)) for row in _rounded(probs).tolist()]


def _rounded(probs: np.ndarray) -> np.ndarray:
    return np.round(probs.astype(float), _DIGITS)
