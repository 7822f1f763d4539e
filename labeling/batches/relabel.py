"""Labels that compete with new samples for the same answers (ActiveLab: Goh and Mueller 2023)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from labeling.quality.label_errors import fit_head, out_of_fold_probs

_AT_ONCE = 16_384  # rows of the pool that the head looks at together


def relabel_candidates(
    pool_embeddings: np.ndarray,
    embeddings: np.ndarray,
    labelled: pd.DataFrame,
    given: pd.DataFrame,
    *,
    size: int,
    limit: int,
    seed: int,
) -> pd.DataFrame:
    """Of the labelled: those that one more answer teaches more than a new sample would.

    `labelled` (sample_id, label, group_id) has a row of `embeddings` each, `given` the answers in
    force (sample_id, annotator, value). Who is among the `size` that ActiveLab would ask first,
    pool and labelled together, is here, the one in most doubt first, at most `limit`; the score is
    cleanlab's, turned so that higher is sooner. Both sides are judged by the same kind of head,
    none by one that learned its label. Empty while there is too little to learn a head from.
    """
    from cleanlab.multiannotator import get_active_learning_scores

    names = labelled["label"].tolist()
    try:
        probs = out_of_fold_probs(embeddings, names, labelled["group_id"].tolist(), seed=seed)
    except ValueError as error:
        print(f"no second looks in this batch: {error}")
        return _looks([], np.empty(0))
    votes = _votes(given, labelled["sample_id"], probs.columns)
    judged = probs.notna().all(axis=1).to_numpy() & votes.notna().any(axis=1).to_numpy()
    if not judged.any():
        return _looks([], np.empty(0))
    head = fit_head(embeddings[judged], labelled["label"].to_numpy()[judged])
    new = pd.DataFrame(_believed(head, pool_embeddings), columns=head.classes_)
    told, fresh = get_active_learning_scores(
        votes[judged].dropna(axis=1, how="all").to_numpy(),
        probs[judged].to_numpy(),
        new.reindex(columns=probs.columns, fill_value=0.0).to_numpy(),
    )
    least = np.sort(np.concatenate([told, fresh]))[: size + 1]
    wanted = np.argsort(told, kind="stable")[:limit]
    # Who ties for the last place leaves it to a new sample.
    wanted = wanted[told[wanted] < (least[size] if len(least) > size else np.inf)]
    ids = labelled["sample_id"].to_numpy()[judged][wanted]
    return _looks(ids.tolist(), 1 - told[wanted])


def _believed(head: Any, embeddings: np.ndarray) -> np.ndarray:
    """The head's probabilities, block by block: it copies the rows that it is given."""
    return np.concatenate(
        [
            head.predict_proba(embeddings[start : start + _AT_ONCE])
            for start in range(0, len(embeddings), _AT_ONCE)
        ]
    )


def _looks(sample_ids: Sequence[str], scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": pd.Series(sample_ids, dtype=object), "score": scores})


def _votes(given: pd.DataFrame, sample_ids: pd.Series, classes: pd.Index) -> pd.DataFrame:
    """A row per sample, a column per person: the number of the class that each said."""
    said = given.assign(value=classes.get_indexer(pd.Index(given["value"])))
    said = said[(said["value"] >= 0) & said["sample_id"].isin(sample_ids)]
    table = said.pivot_table(index="sample_id", columns="annotator", values="value", aggfunc="last")
    return table.reindex(sample_ids).reset_index(drop=True).astype(float)
