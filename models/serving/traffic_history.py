"""What was served lately, read from an even sample: the cost is the same beside any history."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from core.rows import chunks
from models.serving.prediction_store import count_predictions, predictions

MOST = 20_000  # rows that are read: of each of 60 parts of a period 300, which hold a share to 6 %


@dataclass(frozen=True)
class ServedRow:
    """What is read of one prediction."""

    served_at: str
    model: str
    label: str
    confidence: float
    needs_review: bool


@dataclass(frozen=True)
class TrafficSample:
    """Rows of a period, oldest first; each stands for `step` predictions."""

    rows: list[ServedRow]
    step: int


def traffic_since(connection: Connection, since: str, *, most: int = MOST) -> TrafficSample:
    """The predictions served since then: all of them, or every `step`-th where there are many.

    Predictions are numbered in the order in which they were drained, which is that of serving but
    for records of a service that was cut off; of these, those drained within the period are read.
    """
    last = count_predictions(connection)
    first = first_since(connection, since, last)
    count = last - first + 1
    step = max(1, -(-count // most))
    rows = [
        row for row in _rows(connection, range(first, last + 1, step)) if row.served_at >= since
    ]
    return TrafficSample(sorted(rows, key=lambda row: row.served_at), step)


def _rows(connection: Connection, numbers: range) -> Iterator[ServedRow]:
    columns = predictions.c["served_at", "model", "label", "confidence", "needs_review"]
    for keys in chunks(numbers):
        query = select(*columns).where(predictions.c.seq.in_(list(keys)))
        for row in connection.execute(query).tuples():
            yield ServedRow(*row)


def first_since(connection: Connection, since: str, last: int) -> int:
    """The number of the first prediction served since then, by halving; `last` + 1 without one."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        query = select(predictions.c.served_at).where(predictions.c.seq >= middle)
        served_at = connection.scalar(query.order_by(predictions.c.seq).limit(1))
        if served_at is None or served_at >= since:
            high = middle
        else:
            low = middle + 1
    return low
