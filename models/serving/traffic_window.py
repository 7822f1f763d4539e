"""What was served since the last check, and rows drawn evenly from all of it.

The cost follows what is new: of any backlog the numbers are read, and whole rows only of a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, Row, column, func, or_, select, table, true

from core.database import stream
from core.rows import chunks
from models.serving.prediction_store import count_predictions, predictions

if TYPE_CHECKING:
    import pandas as pd


LOOKED_AT = 100_000  # predictions, the newest, among which marked ones are looked for
MOST_REFERRED = 1_000
_samples = table("samples", column("sample_id"))  # of the ledger: serving may not import labeling


@dataclass(frozen=True)
class NewTraffic:
    """The predictions of one model since its last check, and how many other models made."""

    model: str
    after_seq: int
    rows: int = 0
    last_seq: int = 0
    oldest_at: str | None = None
    newest_at: str | None = None
    others: Mapping[str, int] = field(default_factory=dict)  # by model: a canary, an earlier model
    since: str | None = None  # what was served before is not in it


def new_traffic(
    connection: Connection,
    model: str,
    after_seq: int,
    up_to: int | None = None,
    *,
    since: str | None = None,
) -> NewTraffic:
    """What was served and drained after `after_seq`, by default up to now, by model.

    `since` leaves out what was served before that moment.
    """
    served_at, seq = predictions.c.served_at, predictions.c.seq
    query = (
        select(
            predictions.c.model, func.count(), func.max(seq), func.min(served_at),
            func.max(served_at),
        )
        .where(seq > after_seq, true() if up_to is None else seq <= up_to)
        .where(true() if since is None else served_at >= since)
        .group_by(predictions.c.model)
    )  # fmt: skip
    mine, others = NewTraffic(model, after_seq, last_seq=after_seq), dict[str, int]()
    for name, rows, last_seq, oldest, newest in connection.execute(query).tuples():
        if name == model:
            mine = NewTraffic(model, after_seq, rows, last_seq, oldest, newest)
        else:
            others[name] = rows
    return NewTraffic(**{**vars(mine), "others": others, "since": since})


def draw_rows(
    connection: Connection, traffic: NewTraffic, limit: int, rng: np.random.Generator
) -> "pd.DataFrame":
    """Up to `limit` of the rows, drawn evenly from all of them, in order of `seq`.

    The whole is cut into `limit` parts of equal length, and one row is drawn from each.
    """
    import pandas as pd

    places = _places(traffic.rows, limit, rng)
    mine = predictions.c.model == traffic.model
    between = [predictions.c.seq > traffic.after_seq, predictions.c.seq <= traffic.last_seq]
    if traffic.since is not None:
        between.append(predictions.c.served_at >= traffic.since)
    numbers = select(predictions.c.seq).where(mine, *between).order_by(predictions.c.seq)
    drawn = [row.seq for place, row in enumerate(stream(connection, numbers)) if place in places]
    rows = [
        row
        for part in chunks(drawn)
        for row in connection.execute(select(predictions).where(predictions.c.seq.in_(part)))
    ]
    table = pd.DataFrame(rows, columns=[column.name for column in predictions.c])
    return table.sort_values("seq", ignore_index=True)


def _places(rows: int, limit: int, rng: np.random.Generator) -> set[int]:
    if rows <= limit:
        return set(range(rows))
    edges = np.linspace(0, rows, limit + 1)
    drawn = edges[:-1] + rng.random(limit) * np.diff(edges)
    return set(np.minimum(drawn.astype(int), rows - 1).tolist())


def drawn_samples(
    connection: Connection, traffic: NewTraffic, limit: int, rng: np.random.Generator
) -> list[str]:
    """Samples of up to `limit` of the rows, drawn evenly from all of them, in random order."""
    rows = draw_rows(connection, traffic, limit, rng)
    names = rows["sample_id"].drop_duplicates().tolist()
    return [str(names[place]) for place in rng.permutation(len(names))]


def referred_rows(connection: Connection, since: str) -> dict[str, Row[Any]]:
    """The newest images whose answer was marked for a person: each one's last prediction.

    Of the newest 100,000 predictions the marked ones served since then, at most 1,000.
    One that was erased counts only if it is a sample, and so can be asked about.
    """
    last = count_predictions(connection)
    columns = "prediction_id", "sample_id", "segment", "offset", "length", "erased"
    marked = (
        select(*predictions.c[columns])
        .where(predictions.c.seq > last - LOOKED_AT, predictions.c.needs_review)
        .where(predictions.c.served_at >= since)
        .where(
            or_(
                predictions.c.erased.is_(None),
                select(_samples).where(_samples.c.sample_id == predictions.c.sample_id).exists(),
            )
        )
        .order_by(predictions.c.seq.desc())
        .limit(MOST_REFERRED)
    )
    rows: dict[str, Row[Any]] = {}
    for row in connection.execute(marked):
        rows.setdefault(row.sample_id, row)
    return rows


def rows_of(connection: Connection, prediction_ids: Sequence[str]) -> list[Row[Any]]:
    """These predictions, with the place of the bytes received."""
    columns = predictions.c["prediction_id", "sample_id", "segment", "offset", "length", "erased"]
    return [
        row
        for part in chunks(prediction_ids)
        for row in connection.execute(select(*columns).where(predictions.c.prediction_id.in_(part)))
    ]


def samples_of(connection: Connection, prediction_ids: Sequence[str]) -> list[str]:
    """The samples of these predictions, in their order, each once."""
    known: dict[str, str] = {}
    columns = predictions.c["prediction_id", "sample_id"]
    for part in chunks(prediction_ids):
        query = select(*columns).where(predictions.c.prediction_id.in_(part))
        known.update(connection.execute(query).tuples().all())
    return list(dict.fromkeys(known[name] for name in prediction_ids if name in known))
