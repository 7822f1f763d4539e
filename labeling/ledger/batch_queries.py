"""How batches were drawn and what became of them: for accuracy from batches, and for choosing."""

from collections.abc import Collection

import pandas as pd
from sqlalchemy import Connection, select

from labeling.ledger.reasons import RELABEL_REASONS, Reason
from labeling.ledger.tables import assignments, labels, rounds, samples


def load_batch_outcomes(connection: Connection, *, models: Collection[str]) -> pd.DataFrame:
    """The assignments that one of these models predicted, in the order they were drawn.

    Columns: round_id, reason, draw_probability, draws_from, pre_annotation_model, config (of the
    round), origin (of the sample), and right: whether the prediction is the label, missing until
    there is one.
    """
    label = (labels.c.sample_id == assignments.c.sample_id) & labels.c.replaced_at.is_(None)
    query = (
        select(
            *assignments.c["round_id", "reason", "draw_probability", "draws_from"],
            assignments.c.pre_annotation_model,
            *(rounds.c.config, samples.c.origin),
            (assignments.c.pre_annotation == labels.c.label).label("right"),
        )
        .join(rounds, rounds.c.round_id == assignments.c.round_id)
        .join(samples, samples.c.sample_id == assignments.c.sample_id)
        .outerjoin(labels, label)
        .where(assignments.c.pre_annotation.is_not(None))
        .where(assignments.c.pre_annotation_model.in_(sorted(models)))
        .where(assignments.c.reason.not_in((Reason.GOLD, *RELABEL_REASONS)))
        .order_by(rounds.c.number, assignments.c.position)
    )
    return pd.read_sql(query, connection)


def reasons_of_chosen(connection: Connection, strategies: Collection[str]) -> dict[str, str]:
    """The strategy by which each sample was chosen last, of these strategies."""
    query = (
        select(assignments.c.sample_id, assignments.c.reason)
        .join(rounds, rounds.c.round_id == assignments.c.round_id)
        .where(assignments.c.reason.in_(sorted(strategies)))
        .order_by(rounds.c.number)
    )
    return dict(connection.execute(query).tuples().all())
