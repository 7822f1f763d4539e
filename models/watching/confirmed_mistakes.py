"""Served answers that people confirmed to be wrong: those that the model was most sure of."""

from typing import Any

from sqlalchemy import Connection, Row, func, select

from models.serving.prediction_store import predictions
from models.watching.outcome_tables import Standing, truths

NEWEST = 5_000  # truths of all models that are looked through


def confirmed_mistakes(connection: Connection, model: str, *, most: int) -> list[Row[Any]]:
    """Predictions with their truth, the surest first, among the newest truths.

    Each row is one of `predictions`, with the column truth.
    """
    last = connection.scalar(select(func.max(truths.c.number))) or 0
    query = (
        select(predictions, truths.c.truth)
        .join(truths, truths.c.prediction_id == predictions.c.prediction_id)
        .where(truths.c.number > last - NEWEST, truths.c.model == model)
        .where(truths.c.standing == Standing.JUDGES, truths.c.truth != truths.c.label)
        .order_by(predictions.c.confidence.desc(), predictions.c.prediction_id)
        .limit(most)
    )
    return list(connection.execute(query).all())
