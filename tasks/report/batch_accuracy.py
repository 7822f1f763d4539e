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
    batch = assigned[assigned["right"].notna()]
    right = batch["right"].astype(bool).to_numpy()
    is_audit = (batch["reason"] == Reason.AUDIT).to_numpy()
    audit = batch[is_audit]
    by_chance = is_audit | (batch["reason"] == Reason.RANDOM).to_numpy()
    has_chances = assigned["draws_from"].notna().all() and by_chance.any()
    is_sequential = is_sequential_draw(assigned["draws_from"].to_numpy(dtype=float))
    notes = []
    if has_chances and not is_sequential:
        notes.append("no LURE: near-duplicates left the pool with what was drawn")
    if len(audit) and _is_of_served_only(audit):
        notes.append("its audit is of served traffic only")
    return BatchAccuracy(
        round=name,
        model=str(assigned["pre_annotation_model"].iloc[0]),
        naive=naive_accuracy(right),
        lure=_lure(right, batch) if has_chances and is_sequential else None,
        audit=_on_audit(right[is_audit], audit) if len(audit) else None,
        notes=notes,
    )


def _lure(right: np.ndarray, batch: pd.DataFrame) -> Interval:
    drawn, left = (batch[name].to_numpy(dtype=float) for name in ("draw_probability", "draws_from"))
    return lure_accuracy(right, draw_probability=drawn, draws_from=left)


def _on_audit(right: np.ndarray, audit: pd.DataFrame) -> Interval:
    drawn = audit["inclusion_probability"].to_numpy(dtype=float)
    return mean_interval(right, inclusion_probability=drawn)


def _is_of_served_only(audit: pd.DataFrame) -> bool:
    """Whether the audit was drawn from served samples, and nothing else is in it."""
    from_served = audit["config"].iloc[0].get("served_share", 0) > 0
    return bool(from_served and (audit["origin"] == Origin.SERVED).all())
