"""Callbacks on record: what was asked for, which labels are due, and what became of each call."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Column, Connection, Engine, Integer, Table, Text, column, func, select, table

from core import journal
from core.database import metadata, now, stream, writing
from core.locks import Token, fence
from core.rows import chunks
from models.serving.callbacks import FOLDER, fields_of_callback, server_of
from models.serving.prediction_store import segments
from models.serving.segment_reader import Damage, Record, scan
from models.serving.segments import remove_if_abandoned

CHUNK = 2_000  # records in one transaction
MOST = 200  # calls of one run
MOST_OF_SERVER = 20  # of these to one server, before others had as many
LOOKED_AT = 100_000  # due calls, those that wait longest, among which these are
MOST_OF_PREDICTION = 5  # addresses that are called
ATTEMPTS = 10  # then nobody calls any more
ANSWERED = "the receiver answered"  # the error of a call begins so, its status follows
NOT_LISTED = "the address is no longer below one in HONE_CALLBACKS"
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)  # after a call that failed

callbacks = Table(
    "callbacks",
    metadata,
    Column("callback_id", Text, primary_key=True),
    Column("prediction_id", Text, nullable=False, index=True),
    Column("sample_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("attempts", Integer, nullable=False),  # to deliver the present label
    Column("due_at", Text, index=True),  # no call before; null: delivered, or given up
    Column("delivered", Text),  # when the label was settled that the receiver has
    Column("delivered_at", Text),
    Column("error", Text),  # of the last call
    info=journal.COVERED,
)
# What the ledger has of an image: serving may not import labeling.
_labels = table(
    "labels", *map(column, ("sample_id", "label", "trust", "settled_at", "replaced_at"))
)


@dataclass(frozen=True)
class DueCall:
    """A label that is to be sent."""

    callback_id: str
    prediction_id: str
    url: str
    attempts: int
    label: str
    trust: float
    settled_at: str


@dataclass(frozen=True)
class CallbackCounts:
    """How many callbacks wait for their label or a call, were delivered, and were given up."""

    waiting: int
    delivered: int
    given_up: int


def drain_callbacks(engine: Engine, token: Token, traffic: Path) -> int:
    """Record what was asked for since the last time; return how many are new. Idempotent."""
    new = 0
    for path in sorted((traffic / FOLDER).glob("*.seg")):
        key = f"{FOLDER}/{path.name}"
        with engine.connect() as connection:
            mine = select(segments.c.drained_to).where(segments.c.name == key)
            done = connection.scalar(mine) or 0
        if not done and remove_if_abandoned(path):
            continue
        parts = scan(path, done, fields_of=fields_of_callback)
        records = (part for part in parts if isinstance(part, Record))
        while chunk := list(islice(records, CHUNK)):
            with writing(engine) as connection:
                fence(connection, token)
                new += _store(connection, chunk)
                end = chunk[-1].end
                if not journal.update(connection, segments, segments.c.name == key, drained_to=end):
                    journal.insert(connection, segments, [{"name": key, "drained_to": end}])
    return new


def undrained_callbacks(engine: Engine, traffic: Path) -> Iterator[tuple[Path, Damage | str]]:
    """By segment, what is damaged in it, and since when a record waits to be drained."""
    with engine.connect() as connection:
        rows = connection.execute(select(segments).where(segments.c.name.startswith(f"{FOLDER}/")))
        done = {row.name: row.drained_to for row in rows}
    for path in sorted((traffic / FOLDER).glob("*.seg")):
        to = done.get(f"{FOLDER}/{path.name}", 0)
        waiting = []
        for part in scan(path, fields_of=fields_of_callback):
            if isinstance(part, Damage):
                yield path, part
            elif part.end > to:
                waiting.append(str(part.fields["asked_at"]))
        if waiting:
            yield path, min(waiting)


def due_calls(connection: Connection) -> list[DueCall]:
    """The labels to send now, those that wait longest first; each callback gets its label once.

    At first 20 to each server, however many wait for it; what is left of a run goes to any.
    """
    query = (
        select(
            *callbacks.c["callback_id", "prediction_id", "url", "attempts"],
            *_labels.c["label", "trust", "settled_at"],
        )
        .join(_labels, _labels.c.sample_id == callbacks.c.sample_id)
        .where(_labels.c.replaced_at.is_(None), callbacks.c.due_at <= now())
        .order_by(callbacks.c.due_at)
        .limit(LOOKED_AT)
    )
    calls, more = list[DueCall](), list[DueCall]()
    of_server: Counter[object] = Counter()
    for row in stream(connection, query):
        server = server_of(row.url)
        of_server[server] += 1
        if of_server[server] <= MOST_OF_SERVER:
            calls.append(DueCall(*row))
        elif len(more) < MOST:
            more.append(DueCall(*row))
        if len(calls) == MOST:
            break
    return [*calls, *more][:MOST]


def record_call(connection: Connection, call: DueCall, error: str | None) -> None:
    """Record what became of a call: delivered, due again later, or given up."""
    attempts = call.attempts + 1
    if error is None:
        values: dict[str, Any] = {
            "attempts": attempts, "due_at": None, "delivered": call.settled_at,
            "delivered_at": now(), "error": None,
        }  # fmt: skip
    else:
        wait = min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT)
        due = (datetime.now(UTC) + wait).isoformat(timespec="microseconds")
        values = {"attempts": attempts, "due_at": None if attempts >= ATTEMPTS else due}
        values["error"] = error
    journal.update(connection, callbacks, callbacks.c.callback_id == call.callback_id, **values)


def calls_of(connection: Connection, prediction_id: str) -> list[dict[str, Any]]:
    """How each callback of a prediction stands, as anybody with the service's token may see it.

    Path and query of its address may be secret; of errors, what they name of the network.
    """
    columns = callbacks.c["url", "attempts", "due_at", "delivered_at", "error"]
    query = select(*columns).where(callbacks.c.prediction_id == prediction_id)
    return [
        {
            "url": "{0.scheme}://{0.netloc}/".format(urlsplit(row.url)),
            "status": "waiting" if row.due_at else "delivered" if row.delivered_at else "given up",
            "attempts": row.attempts, "delivered_at": row.delivered_at,
            "error": _kind_of(row.error),
        }
        for row in connection.execute(query)
    ]  # fmt: skip


def _kind_of(error: str | None) -> str | None:
    if error is None or error.startswith(ANSWERED):
        return error
    return "not listed" if error == NOT_LISTED else "not reached"


def callback_counts(connection: Connection) -> CallbackCounts:
    """How the callbacks stand."""
    standing = callbacks.c.due_at.is_not(None), callbacks.c.delivered_at.is_not(None)
    rows = select(*standing, func.count()).group_by(*standing)
    counts = {"waiting": 0, "delivered": 0, "given_up": 0}
    for waits, delivered, number in connection.execute(rows).tuples():
        counts["waiting" if waits else "delivered" if delivered else "given_up"] += number
    return CallbackCounts(**counts)


def _store(connection: Connection, records: Sequence[Record]) -> int:
    by_id = {str(record.fields["callback_id"]): record.fields for record in records}
    known = set(_known(connection, list(by_id)))
    of_prediction = _counts(connection, {str(one["prediction_id"]) for one in by_id.values()})
    new = []
    for name, fields in by_id.items():
        if name not in known and of_prediction[fields["prediction_id"]] < MOST_OF_PREDICTION:
            of_prediction[fields["prediction_id"]] += 1
            new.append(fields)
    usual = {"attempts": 0, "delivered": None, "delivered_at": None, "error": None}
    rows = [{**fields, **usual, "due_at": fields["asked_at"]} for fields in new]
    journal.insert(connection, callbacks, rows)
    return len(rows)


def _known(connection: Connection, ids: Sequence[str]) -> Iterator[str]:
    for part in chunks(ids):
        mine = callbacks.c.callback_id
        yield from connection.scalars(select(mine).where(mine.in_(part)))


def _counts(connection: Connection, prediction_ids: Iterable[str]) -> Counter[str]:
    """How many callbacks each of these predictions has."""
    counts: Counter[str] = Counter()
    mine = callbacks.c.prediction_id
    for part in chunks(sorted(prediction_ids)):
        query = select(mine, func.count()).where(mine.in_(part)).group_by(mine)
        counts.update(dict(connection.execute(query).tuples().all()))
    return counts
