"""Labels that compete with new samples for the same answers (ActiveLab: Goh and Mueller 2023)."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labeling.batches.batch import Batch
from labeling.ledger.reasons import Reason
from labeling.quality.label_errors import fit_head, out_of_fold_probs

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_AT_ONCE = 16_384  # rows of the pool that the head predicts together


def relabel_candidates(
    pool_embeddings: np.ndarray,
    embeddings: np.ndarray,
    labelled: pd.DataFrame,
    given: pd.DataFrame,
    *,
    size: int,
    limit: int,
    seed: int,
) -> Batch:
    """The labelled samples of which one more answer teaches more than a new sample would.

    `labelled` (sample_id, label, group_id) has a row of `embeddings` each, `given` the answers in
    force (sample_id, annotator, value). A sample is here if it is among the `size` that ActiveLab
    would ask first, pool and labelled together; the least trusted comes first, at most `limit`. The
    score is cleanlab's, turned so that higher is sooner. Both sides are judged by the same kind of
    head, none by one that learned its label. Empty while there is too little to learn a head from.
    """
    from cleanlab.multiannotator import get_active_learning_scores

    names = labelled["label"].tolist()
    try:
        probs = out_of_fold_probs(embeddings, names, labelled["group_id"].tolist(), seed=seed)
    except ValueError as error:
        print(f"no second looks in this batch: {error}")
        return Batch.of([], reason=str(Reason.RELABEL))
    votes = _votes(given, labelled["sample_id"], probs.columns)
    judged = probs.notna().all(axis=1).to_numpy() & votes.notna().any(axis=1).to_numpy()
    if not judged.any():
        return Batch.of([], reason=str(Reason.RELABEL))
    head = fit_head(embeddings[judged], labelled["label"].to_numpy()[judged])
    new = pd.DataFrame(_predicted(head, pool_embeddings), columns=head.classes_)
    trust, trust_of_new = get_active_learning_scores(
        votes[judged].dropna(axis=1, how="all").to_numpy(),
        probs[judged].to_numpy(),
        new.reindex(columns=probs.columns, fill_value=0.0).to_numpy(),
    )
    least = np.sort(np.concatenate([trust, trust_of_new]))[: size + 1]
    rows = np.argsort(trust, kind="stable")[:limit]
    # A tie for the last place goes to the new sample.
    rows = rows[trust[rows] < (least[size] if len(least) > size else np.inf)]
    return Batch.of(
        labelled["sample_id"].to_numpy()[judged][rows].tolist(),
        reason=str(Reason.RELABEL),
        score=1 - trust[rows],
        confidence=trust[rows],
    )


def _predicted(head: "Pipeline", embeddings: np.ndarray) -> np.ndarray:
    """The head's probabilities, block by block: it copies the rows that it is given."""
    return np.concatenate(
        [
            head.predict_proba(embeddings[start : start + _AT_ONCE])
            for start in range(0, len(embeddings), _AT_ONCE)
        ]
    )


def _votes(given: pd.DataFrame, sample_ids: pd.Series, classes: pd.Index) -> pd.DataFrame:
    """A row per sample, a column per annotator: the number of the class that each chose."""
    numbers = given.assign(value=classes.get_indexer(pd.Index(given["value"])))
    numbers = numbers[(numbers["value"] >= 0) & numbers["sample_id"].isin(sample_ids)]
    table = numbers.pivot_table(
        index="sample_id", columns="annotator", values="value", aggfunc="last"
    )
    return table.reindex(sample_ids).reset_index(drop=True).astype(float)
