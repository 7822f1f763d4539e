"""Truths about served predictions into the database: once each, and joined with what was served.

Of one person the surest truth is in force, and of equally sure ones the newest; the others are
history. Between people the surest strength decides; where they differ in it the truth is disputed.
Truths that name nobody are of as many people: none of them corrects another.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from core import journal
from core.hone_toml import plain_name
from core.rows import chunks
from models.serving.feedback_records import CLOCKS_DIFFER, NOBODY, Feedback, Strength
from models.serving.prediction_store import predictions
from models.watching.outcome_tables import (
    Standing,
    outcomes,
    truth_counts,
    truths,
    waiting_outcomes,
)
from models.watching.slices import note_slices, slices_of

RANK = {str(strength): place for place, strength in enumerate(Strength)}  # the surest first
COUNTED = ("model", "hour", "slice", "standing", "label", "truth")  # the key of a count
NAMED_TRUTHS = (Standing.JUDGES, Standing.TRAINS)  # of others the text is anything: not in a key
LONGEST_NAME = 300  # bytes of a class name in a key: PostgreSQL takes 2,704 of a whole one
HOUR, DAY = len("2026-01-31T17"), len("2026-01-31")


@dataclass(frozen=True)
class RecordedOutcomes:
    """What became of truths: those that are new, that were known, and that wait to be joined."""

    new: int = 0
    known: int = 0
    waiting: int = 0  # of the new ones: their prediction is not known here, perhaps not yet

    def __add__(self, other: "RecordedOutcomes") -> "RecordedOutcomes":
        """Both together."""
        return RecordedOutcomes(
            self.new + other.new, self.known + other.known, self.waiting + other.waiting
        )


class ClassNames:
    """The classes of a workspace, by whatever way of composing accents they are written."""

    def __init__(self, classes: Iterable[str]) -> None:
        self._names = {plain_name(name): name for name in classes}

    @property
    def digest(self) -> str:
        """The same for the same names."""
        return hashlib.sha256("\0".join(sorted(self._names)).encode()).hexdigest()

    def class_of(self, truth: str) -> str | None:
        """The class that a truth names; None for none."""
        return self._names.get(plain_name(truth))


class _Served(NamedTuple):
    """What a truth is joined with."""

    prediction_id: str
    model: str
    sample_id: str
    served_at: str
    label: str
    slice: str


def record_outcomes(
    connection: Connection, given: Sequence[Feedback], names: ClassNames
) -> RecordedOutcomes:
    """Record the truths that are new, and join them with their predictions. Idempotent.

    Call it in a `writing` transaction under the lock "feedback". A truth without a time that says
    again what its person's truth in force says is known.
    """
    ids = {one.prediction_id for one in given}
    by_prediction = _outcomes_of(connection, ids)
    known = _known_ids(connection, [one.outcome_id for one in given])
    seq = connection.scalar(select(func.max(outcomes.c.seq))) or 0
    fresh: list[dict[str, Any]] = []
    for one in given:
        mine = by_prediction[one.prediction_id]
        if one.outcome_id in known or (one.at is None and _says_again(one, mine)):
            continue
        known.add(one.outcome_id)
        seq += 1
        row = {**asdict(one), "seq": seq, "repeats": None, "superseded_by": None}
        fresh.append(row)
        mine.append(row)
    journal.insert(connection, outcomes, fresh)
    touched = {row["prediction_id"] for row in fresh}
    away = resolve(connection, touched, names)
    waiting = sum(row["prediction_id"] in away for row in fresh)
    return RecordedOutcomes(len(fresh), len(given) - len(fresh), waiting)


def join_waiting(connection: Connection, names: ClassNames, *, after_seq: int, to_seq: int) -> int:
    """Join the outcomes that waited for predictions of these numbers; return how many did."""
    came = (
        select(waiting_outcomes.c.prediction_id)
        .join(predictions, predictions.c.prediction_id == waiting_outcomes.c.prediction_id)
        .where(predictions.c.seq > after_seq, predictions.c.seq <= to_seq)
    )
    ids = set(connection.scalars(came))
    resolve(connection, ids, names)
    return len(ids)


def join_classes(connection: Connection, names: ClassNames) -> int:
    """Join the truths whose class came into `hone.toml`; return how many did."""
    unknown = Standing.UNKNOWN_CLASS
    if not connection.scalar(  # a row of counts is read where there is none
        select(truth_counts.c.rows).where(truth_counts.c.standing == unknown).limit(1)
    ):
        return 0
    stands = select(*truths.c["prediction_id", "truth"]).where(truths.c.standing == unknown)
    rows = connection.execute(stands).tuples()
    ids = {prediction_id for prediction_id, truth in rows if names.class_of(truth) is not None}
    resolve(connection, ids, names)
    return len(ids)


def resolve(connection: Connection, ids: Collection[str], names: ClassNames) -> set[str]:
    """Make anew what follows from the outcomes of these predictions; return the unknown ones."""
    away: set[str] = set()
    for keys in chunks(sorted(ids)):
        served = _served(connection, keys)
        note_slices(connection, [(one.served_at[:DAY], one.slice) for one in served.values()])
        given = _outcomes_of(connection, keys)
        changed = [row for key in keys for row in _changes(given[key], served.get(key))]
        journal.update_rows(connection, outcomes, changed)
        joined = [truth_of(given[key], served[key], names) for key in keys if key in served]
        _replace_truths(connection, keys, joined)
        _note_waiting(connection, keys, served, given)
        away |= set(keys) - served.keys()
    return away


def expected_truths(
    connection: Connection, ids: Sequence[str], names: ClassNames
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """The truths that follow from the outcomes of these predictions; and which are not known."""
    expected: dict[str, dict[str, Any]] = {}
    for keys in chunks(ids):
        served, given = _served(connection, keys), _outcomes_of(connection, keys)
        expected |= {key: truth_of(given[key], one, names) for key, one in served.items()}
    return expected, set(ids) - expected.keys()


def make_again(connection: Connection, names: ClassNames) -> int:
    """Make everything anew that follows from the outcomes, with numbers behind all that were.

    The last number comes back: up to it, checks have had all truths.
    """
    last = connection.scalar(select(func.max(truths.c.number))) or 0
    connection.execute(delete(truths))
    connection.execute(delete(truth_counts))
    connection.execute(delete(waiting_outcomes))
    every = set(connection.scalars(select(outcomes.c.prediction_id).distinct()))
    resolve(connection, every, names)
    behind = max(last, connection.scalar(select(func.max(truths.c.number))) or 0)
    connection.execute(update(truths).values(number=truths.c.number + behind))
    return connection.scalar(select(func.max(truths.c.number))) or 0


def truth_of(
    given: Sequence[Mapping[str, Any]], served: _Served, names: ClassNames
) -> dict[str, Any]:
    """The row of `truths` that follows from the outcomes of a prediction, without its number."""
    standing_rows = list(in_force(given, served.served_at).values())
    strongest = min(RANK[row["strength"]] for row in standing_rows)
    best = [row for row in standing_rows if RANK[row["strength"]] == strongest]
    values = sorted({names.class_of(row["truth"]) or row["truth"] for row in best})
    truth = values[0]
    if len(values) > 1:
        standing = Standing.DISPUTED
    elif names.class_of(truth) is None:
        standing = Standing.UNKNOWN_CLASS
    else:
        confirmed = best[0]["strength"] == Strength.CONFIRMED
        standing = Standing.JUDGES if confirmed else Standing.TRAINS
    return {
        "prediction_id": served.prediction_id, "model": served.model,
        "sample_id": served.sample_id, "hour": served.served_at[:HOUR], "slice": served.slice,
        "label": served.label, "truth": truth, "standing": str(standing),
    }  # fmt: skip


def in_force(
    given: Iterable[Mapping[str, Any]], served_at: str | None
) -> dict[str, Mapping[str, Any]]:
    """The outcomes in force, of each person one."""
    by_person: dict[str, Mapping[str, Any]] = {}
    ordered = sorted(
        given,
        key=lambda row: (-RANK[row["strength"]], decided_at(row, served_at), row["seq"]),
    )
    for row in ordered:
        by_person[_person(row)] = row
    return by_person


def _person(row: Mapping[str, Any]) -> str:
    """Whose truth it is; one that names nobody is of a person of its own."""
    return str(row["outcome_id"] if row["who"] == NOBODY else row["who"])


def decided_at(row: Mapping[str, Any], served_at: str | None) -> str:
    """When a truth was decided: as its giver's clock has it, unless that clock is far off.

    A truth from before its prediction has a wrong clock; when it was received counts instead.
    """
    at, received = row["at"], str(row["received_at"])
    if at is None or (served_at is not None and _before(at, served_at)):
        return received
    return str(at)


def _before(at: str, served_at: str) -> bool:
    return datetime.fromisoformat(served_at) - datetime.fromisoformat(at) > CLOCKS_DIFFER


def _says_again(one: Feedback, given: Sequence[Mapping[str, Any]]) -> bool:
    mine = in_force((row for row in given if row["who"] == one.who), None).values()
    what = one.truth, one.strength, one.source
    return any((row["truth"], row["strength"], row["source"]) == what for row in mine)


def _changes(given: Sequence[Mapping[str, Any]], served: _Served | None) -> list[dict[str, Any]]:
    """What `repeats` and `superseded_by` of these outcomes must become, where they differ."""
    standing = in_force(given, served.served_at if served else None)
    changed = []
    for row in given:
        heir = standing[_person(row)]["outcome_id"]
        superseded_by = None if heir == row["outcome_id"] else heir
        repeats = None if served is None else plain_name(row["truth"]) == plain_name(served.label)
        if (row["repeats"], row["superseded_by"]) != (repeats, superseded_by):
            of = {"outcome_id": row["outcome_id"]}
            changed.append({**of, "repeats": repeats, "superseded_by": superseded_by})
    return changed


def _replace_truths(
    connection: Connection, keys: Sequence[str], joined: list[dict[str, Any]]
) -> None:
    """Put these rows in the place of those that were there, and count what changed."""
    last = connection.scalar(select(func.max(truths.c.number))) or 0
    there = select(truths).where(truths.c.prediction_id.in_(keys))
    before = {row["prediction_id"]: dict(row) for row in connection.execute(there).mappings()}
    fresh = [
        row
        for row in joined
        if {**before.get(row["prediction_id"], {}), "number": 0} != {**row, "number": 0}
    ]
    gone = [before[row["prediction_id"]] for row in fresh if row["prediction_id"] in before]
    if gone:
        ids = [row["prediction_id"] for row in gone]
        connection.execute(delete(truths).where(truths.c.prediction_id.in_(ids)))
    if fresh:
        numbered = [{**row, "number": number} for number, row in enumerate(fresh, start=last + 1)]
        connection.execute(insert(truths), numbered)
    _count(connection, added=fresh, gone=gone)


def count_key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The key under which a truth is counted: of a very long class name its beginning and hash."""
    truth = row["truth"] if row["standing"] in NAMED_TRUTHS else ""
    names = _short(row["label"]), _short(truth)
    return row["model"], row["hour"], row["slice"], row["standing"], *names


def _short(name: str) -> str:
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name.encode()[: LONGEST_NAME - 20].decode(errors='ignore')}...{digest}"


def _count(
    connection: Connection, *, added: Iterable[Mapping[str, Any]], gone: Iterable[Mapping[str, Any]]
) -> None:
    """Change the counts by the rows that were added and that are gone."""
    by = Counter(map(count_key, added))
    by.subtract(map(count_key, gone))
    moved = {key: rows for key, rows in by.items() if rows}
    known: dict[tuple[str, ...], int] = {}
    for hours in chunks(sorted({key[1] for key in moved})):
        rows = connection.execute(select(truth_counts).where(truth_counts.c.hour.in_(hours)))
        known |= {tuple(row[:-1]): row[-1] for row in rows}
    named = [
        {**{f"of_{name}": part for name, part in zip(COUNTED, key, strict=True)},
         "to_rows": known.get(key, 0) + rows, "is_new": key not in known}
        for key, rows in moved.items()
    ]  # fmt: skip
    where = [truth_counts.c[name] == bindparam(f"of_{name}") for name in COUNTED]
    changed = [row for row in named if not row["is_new"]]
    if changed:
        values: dict[str, Any] = {"rows": bindparam("to_rows")}
        connection.execute(update(truth_counts).where(*where).values(**values), changed)
    made = [row for row in named if row["is_new"]]
    if made:
        fresh = [
            {**{name: row[f"of_{name}"] for name in COUNTED}, "rows": row["to_rows"]}
            for row in made
        ]
        connection.execute(insert(truth_counts), fresh)
    if any(not row["to_rows"] for row in changed):
        connection.execute(delete(truth_counts).where(truth_counts.c.rows == 0))


def _note_waiting(
    connection: Connection,
    keys: Sequence[str],
    served: Collection[str],
    given: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    column = waiting_outcomes.c.prediction_id
    waiting = set(connection.scalars(select(column).where(column.in_(keys))))
    if came := sorted(waiting & set(served)):
        connection.execute(delete(waiting_outcomes).where(column.in_(came)))
    fresh = [key for key in keys if key not in served and key not in waiting and given[key]]
    if fresh:
        rows = [{"prediction_id": key, "since": given[key][0]["received_at"]} for key in fresh]
        connection.execute(insert(waiting_outcomes), rows)


def _outcomes_of(
    connection: Connection, ids: Collection[str]
) -> defaultdict[str, list[Mapping[str, Any]]]:
    """The outcomes of each of these predictions, in the order of recording."""
    given: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for keys in chunks(sorted(ids)):
        query = select(outcomes).where(outcomes.c.prediction_id.in_(keys)).order_by(outcomes.c.seq)
        for row in connection.execute(query).mappings():
            given[row["prediction_id"]].append(dict(row))
    return given


def _known_ids(connection: Connection, ids: Sequence[str]) -> set[str]:
    column = outcomes.c.outcome_id
    return {
        known
        for keys in chunks(ids)
        for known in connection.scalars(select(column).where(column.in_(keys)))
    }


def _served(connection: Connection, keys: Sequence[str]) -> dict[str, _Served]:
    columns = predictions.c["prediction_id", "model", "sample_id", "served_at", "label", "source"]
    query = select(*columns).where(predictions.c.prediction_id.in_(keys))
    rows = connection.execute(query.order_by(predictions.c.seq)).all()
    slices = slices_of(connection, [(row.served_at[:DAY], row.source or "") for row in rows])
    return {
        row.prediction_id: _Served(
            row.prediction_id, row.model, row.sample_id, row.served_at, row.label,
            slices[row.served_at[:DAY], row.source or ""],
        )
        for row in rows
    }  # fmt: skip
