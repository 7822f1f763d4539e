"""The accuracy of the model that chose each batch, from the labels that the batch then got."""

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from core.intervals import Interval, mean_interval
from labeling.budget.report import BatchAccuracy
from labeling.ledger.batch_queries import load_batch_outcomes
from labeling.ledger.reasons import Origin, Reason
from models.judging.lure import is_sequential_draw, lure_accuracy, naive_accuracy
from models.registry import versions

BY_CHANCE = (Reason.AUDIT, Reason.RANDOM)


def batch_accuracies(engine: Engine) -> list[BatchAccuracy]:
    """The accuracy of the model that chose a batch, for each round with labels, oldest first.

    The predictions are from before the model was trained on any of the batch.
    """
    models = versions.known_versions(engine)
    with engine.connect() as connection:
        outcomes = load_batch_outcomes(connection, models=models)
    return [
        _batch_accuracy(str(name), batch)
        for name, batch in outcomes.groupby("round_id", sort=False)
        if batch["right"].notna().any()
    ]


def _batch_accuracy(name: str, assigned: pd.DataFrame) -> BatchAccuracy:
    """The estimates of one batch, and what limits them.

    Assignments without a label yet count only for how the batch was drawn.
    """
    # The standing audit is of all images, not of those that were left at that time.
    is_apart = (assigned["reason"] == Reason.AUDIT) & assigned["draws_from"].isna()
    has_label = assigned["right"].notna()
    batch, drawn, chosen = assigned[has_label], assigned[~is_apart], assigned[has_label & ~is_apart]
    audit = batch[batch["reason"] == Reason.AUDIT]
    has_chances = drawn["draws_from"].notna().all() and chosen["reason"].isin(BY_CHANCE).any()
    is_sequential = is_sequential_draw(drawn["draws_from"].to_numpy(dtype=float))
    notes = []
    if has_chances and not is_sequential:
        notes.append("no LURE: near-duplicates left the pool with what was drawn")
    if len(audit) and _is_of_served_only(audit):
        notes.append("its audit is of served traffic only")
    return BatchAccuracy(
        round=name,
        model=str(assigned["pre_annotation_model"].iloc[0]),
        naive=naive_accuracy(_right(batch)),
        lure=_lure(chosen) if has_chances and is_sequential else None,
        audit=mean_interval(_right(audit)) if len(audit) else None,
        notes=notes,
    )


def _right(rows: pd.DataFrame) -> np.ndarray:
    return rows["right"].astype(bool).to_numpy()


def _lure(rows: pd.DataFrame) -> Interval:
    drawn, left = (rows[name].to_numpy(dtype=float) for name in ("draw_probability", "draws_from"))
    return lure_accuracy(_right(rows), draw_probability=drawn, draws_from=left)


def _is_of_served_only(audit: pd.DataFrame) -> bool:
    """Whether the audit was drawn from served samples, and nothing else is in it."""
    from_served = audit["config"].iloc[0].get("served_share", 0) > 0
    return bool(from_served and (audit["origin"] == Origin.SERVED).all())
