"""Images of the traffic that are retained, and those that are erased: decided, done, confirmed.

An erasure is decided in one transaction, from which on no image of it is read; then its bytes are
overwritten with zeros in the segments, and the space of them given back; then it is confirmed. A
run after a kill does the second step again. The records stay, without their images.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Integer,
    Table,
    Text,
    func,
    select,
    union_all,
)

from core import journal
from core.database import Json, metadata, now, stream, writing
from core.locks import Token, fence
from core.rows import chunks
from models.serving.copies import copies
from models.serving.prediction_store import predictions, segments
from models.serving.retention import (
    CHANCE,
    DAY,
    DISAGREEMENT,
    EXEMPLAR,
    HOUR,
    RetentionPolicy,
    in_share,
    retained,
    rule_of,
)
from models.serving.segment_reader import read_records
from models.serving.zeros import has_bytes, overwrite

THINNING, AGE, MASKED = "thinning", "age", "masked"  # why images are erased
SAMPLE_AGE = "sample age"  # and samples, in the traffic, too
AT_ONCE = 20_000  # images of one erasure
Spared = Callable[[Connection, Collection[str]], set[str]]  # those of these ids
COMPARED = 500  # records compared with the database at once

erasures = Table(
    "erasures",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),  # one of the words above, or those of who asked for it
    Column("rule", Json, nullable=False),  # the RetentionPolicy
    Column("random_share", Float, nullable=False),  # of the images that chance spared
    Column("first_seq", Integer, nullable=False),  # its images are among these predictions:
    Column("last_seq", Integer, nullable=False),  # those whose `erased` is the number; 0: samples
    Column("images", Integer, nullable=False),
    Column("decided_at", Text, nullable=False),
    Column("done_at", Text),
    info=journal.COVERED,
)

# While `random_share` is below 1: the images of the traffic that are not erased until they are old.
retained_images = Table(
    "retained_images",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column("why", Text, nullable=False),  # chance, exemplar, disagreement, or one of RULES
    Column("hour", Text, nullable=False, index=True),  # in which it was served
    info=journal.COVERED,
)


class Place(NamedTuple):
    """Where a segment has an image."""

    prediction_id: str
    offset: int
    length: int


def retain(
    connection: Connection,
    policy: RetentionPolicy,
    *,
    after: int,
    limit: int,
    known: Spared | None = None,
) -> tuple[int, list[str]]:
    """Decide which of the next predictions retain their image; the last one looked at, and ids.

    Beside the share one copy of an image is retained, and none of those that are `known`.
    """
    columns = predictions.c[
        "seq", "prediction_id", "sample_id", "confidence", "needs_review", "served_at"
    ]
    query = select(*columns).where(predictions.c.seq > after).order_by(predictions.c.seq)
    rows = connection.execute(query.limit(limit)).all()
    used = _used(connection, {row.served_at[:DAY] for row in rows})
    wanted = {row.sample_id for row in rows if rule_of(row, policy)}
    there = retained_samples(connection, wanted) | (known(connection, wanted) if known else set())
    chosen = [
        {"prediction_id": row.prediction_id, "why": why, "hour": row.served_at[:HOUR]}
        for row, why in retained(rows, policy, used, there)
    ]
    _add(connection, chosen)
    return max((row.seq for row in rows), default=after), [row["prediction_id"] for row in chosen]


def retain_named(connection: Connection, reasons: Mapping[str, str]) -> None:
    """Retain the images of these predictions, each with why."""
    for part in chunks(sorted(reasons)):
        served = select(*predictions.c["prediction_id", "served_at"])
        rows = connection.execute(served.where(predictions.c.prediction_id.in_(part)))
        _add(connection, [
            {"prediction_id": name, "why": reasons[name], "hour": served_at[:HOUR]}
            for name, served_at in rows.tuples()
        ])  # fmt: skip


def retained_of(connection: Connection, prediction_ids: Collection[str]) -> set[str]:
    """Those of these predictions whose image is retained."""
    mine = retained_images.c.prediction_id
    return {
        name
        for part in chunks(sorted(prediction_ids))
        for name in connection.scalars(select(mine).where(mine.in_(part)))
    }


def retained_samples(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these images of the traffic of which a copy is retained, and not erased since."""
    same = retained_images.c.prediction_id == predictions.c.prediction_id
    there = select(predictions.c.sample_id).where(predictions.c.erased.is_(None))
    query = there.join(retained_images, same).distinct()
    return {
        name
        for part in chunks(sorted(sample_ids))
        for name in connection.scalars(query.where(predictions.c.sample_id.in_(part)))
    }


def drawn_by_chance(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these images of the traffic that are in hand whatever was answered to them."""
    share = connection.scalar(select(func.min(erasures.c.random_share)))
    return {name for name in sample_ids if share is None or in_share(name, share)}


def decide(
    connection: Connection,
    policy: RetentionPolicy,
    *,
    who: str,
    why: str,
    after: int,
    last: int,
    unmasked: Spared | None = None,
) -> int:
    """Mark the images of the next predictions as erased; return the last prediction looked at.

    A thinning spares what is retained, masking what could not be masked, and age nothing.
    """
    columns = predictions.c["seq", "prediction_id", "erased"]
    between = predictions.c.seq > after, predictions.c.seq <= last
    query = select(*columns).where(*between).order_by(predictions.c.seq).limit(AT_ONCE)
    rows = connection.execute(query).all()
    if not rows:
        return last
    left = [row.prediction_id for row in rows if row.erased is None]
    spares = {THINNING: retained_of, MASKED: unmasked}.get(why)
    spared = spares(connection, left) if spares else set[str]()
    gone = [name for name in left if name not in spared]
    if gone:
        about = _About(who, why, policy, policy.random_share)
        _mark(connection, about, gone, between=(rows[0].seq, rows[-1].seq))
    return int(rows[-1].seq)


def decide_samples(
    connection: Connection,
    policy: RetentionPolicy,
    *,
    who: str,
    why: str,
    sample_ids: Collection[str],
    forgotten: int,
) -> int | None:
    """Mark every image of the traffic with these bytes as erased; the number for their samples.

    Of these `forgotten` are forgotten by the caller, in the same transaction, under that number: a
    row of its own, without predictions, that `confirm_samples` ends. None where there are none.
    """
    about = _About(who, why, policy, 1.0)  # chance had no part in it
    for part in chunks(sorted(sample_ids)):
        mine = predictions.c.sample_id.in_(part), predictions.c.erased.is_(None)
        query = select(*predictions.c["seq", "prediction_id"]).where(*mine)
        rows = connection.execute(query.order_by(predictions.c.seq)).all()
        if rows:
            names = [row.prediction_id for row in rows]
            _mark(connection, about, names, between=(rows[0].seq, rows[-1].seq))
    return _add_row(connection, about, forgotten, (0, 0)) if forgotten else None


def images_there(connection: Connection, sample_ids: Collection[str]) -> set[str]:
    """Those of these images that the traffic has and that no erasure was decided for."""
    column = predictions.c.sample_id
    query = select(column).where(predictions.c.erased.is_(None))
    parts = chunks(sorted(sample_ids))
    return {one for part in parts for one in connection.scalars(query.where(column.in_(part)))}


def confirm_samples(connection: Connection, numbers: Collection[int]) -> None:
    """Record that the samples of these erasures are erased."""
    mine = erasures.c.number.in_(sorted(numbers)), erasures.c.done_at.is_(None)
    journal.update(connection, erasures, *mine, done_at=now())


class _About(NamedTuple):
    """What an erasure is on record with."""

    who: str
    why: str
    policy: RetentionPolicy
    random_share: float


def _mark(
    connection: Connection, about: _About, names: Sequence[str], between: tuple[int, int]
) -> None:
    number = _add_row(connection, about, len(names), between)
    marks = [{"prediction_id": name, "erased": number} for name in names]
    journal.update_rows(connection, predictions, marks)


def _add_row(connection: Connection, about: _About, images: int, between: tuple[int, int]) -> int:
    number = (connection.scalar(select(func.max(erasures.c.number))) or 0) + 1
    row = {
        "number": number, "who": about.who, "why": about.why, "rule": asdict(about.policy),
        "random_share": about.random_share, "first_seq": between[0], "last_seq": between[1],
        "images": images, "decided_at": now(), "done_at": None,
    }  # fmt: skip
    journal.insert(connection, erasures, [row])
    return number


def carry_out(engine: Engine, token: Token, folder: Path) -> int:
    """Erase what was decided and is not confirmed; return how many images. Idempotent."""
    images = 0
    with engine.connect() as connection:
        waiting = select(erasures).where(erasures.c.done_at.is_(None), erasures.c.last_seq > 0)
        decided = connection.execute(waiting.order_by(erasures.c.number)).all()
    for erasure in decided:
        with engine.connect() as connection:
            names = _erase(connection, erasure, folder)
        for name in names:
            _remove_if_spent(engine, folder / name)
        with writing(engine) as connection:
            fence(connection, token)
            mine = erasures.c.number == erasure.number
            journal.update(connection, erasures, mine, done_at=now())
        images += erasure.images
    return images


def images_left(connection: Connection, folder: Path) -> Iterator[tuple[Any, Path]]:
    """Predictions of confirmed erasures whose image is in its segment, or a copy, all the same."""
    done = select(erasures.c.number).where(erasures.c.done_at.is_not(None))
    for name, rows in _by_segment(connection, predictions.c.erased.in_(done)):
        path = folder / Path(name).name
        if path.is_file():
            with path.open("rb") as file:
                yield from (
                    (row, path) for row in rows if has_bytes(file.fileno(), row.offset, row.length)
                )
    for path in sorted(folder.glob("*.seg")):
        with path.open("rb") as file:
            for row in _in_other_places(connection, path, predictions.c.erased.in_(done)):
                if has_bytes(file.fileno(), row.offset, row.length):
                    yield row, path


def erase_again(engine: Engine, folder: Path) -> None:
    """Erase images that came back, as from a backup."""
    with engine.connect() as connection:
        for row, path in images_left(connection, folder):
            overwrite(path, [(row.offset, row.length)])


def _add(connection: Connection, rows: list[dict[str, str]]) -> None:
    known = retained_of(connection, [row["prediction_id"] for row in rows])
    new = {row["prediction_id"]: row for row in rows if row["prediction_id"] not in known}
    journal.insert(connection, retained_images, list(new.values()))


def _used(connection: Connection, days: Collection[str]) -> Counter[str]:
    """How many images were retained beside the share on these days, by hour and by day."""
    used: Counter[str] = Counter()
    hour = retained_images.c.hour
    beside = retained_images.c.why.not_in((CHANCE, EXEMPLAR, DISAGREEMENT))
    for day in days:
        within = hour >= day, hour < f"{day}U"  # the letter after the T of a time
        query = select(hour, func.count()).where(beside, *within).group_by(hour)
        for name, count in connection.execute(query).tuples():
            used.update({name: count, day: count})
    return used


def _erase(connection: Connection, erasure: Any, folder: Path) -> list[str]:
    """Overwrite the images of an erasure; return the segments that have them."""
    between = predictions.c.seq >= erasure.first_seq, predictions.c.seq <= erasure.last_seq
    names = []
    for name, rows in _by_segment(connection, *between, predictions.c.erased == erasure.number):
        path = folder / name
        if Path(name).name != name or not path.is_file():  # a person moved it away
            continue
        overwrite(path, [(row.offset, row.length) for row in rows])
        names.append(name)
    return names


def _by_segment(
    connection: Connection, *which: ColumnElement[bool]
) -> Iterator[tuple[str, Iterator[Any]]]:
    """By segment, all places of the images of these predictions."""
    first = select(*predictions.c["prediction_id", "segment", "offset", "length"]).where(*which)
    others = copies.c["prediction_id", "segment", "offset", "length"]
    mine = copies.c.prediction_id == predictions.c.prediction_id
    again = select(*others).select_from(copies).join(predictions, mine).where(*which)
    places = union_all(first, again).order_by("segment")
    return groupby(stream(connection, places), key=lambda row: str(row.segment))


def _in_other_places(
    connection: Connection, path: Path, which: ColumnElement[bool]
) -> Iterator[Place]:
    """Where a segment has these predictions once more and that is not on record.

    As after a drain by a version that recorded no copies, or a segment that was not drained yet.
    """
    records = iter(read_records(path))
    while part := list(islice(records, COMPARED)):
        places = {Place(str(one.fields["prediction_id"]), one.offset, one.length) for one in part}
        mine = predictions.c.prediction_id.in_({place.prediction_id for place in places}), which
        known = {
            Place(row.prediction_id, row.offset, row.length)
            for name, rows in _by_segment(connection, *mine)
            for row in rows
            if name == path.name
        }
        erased = set(connection.scalars(select(predictions.c.prediction_id).where(*mine)))
        yield from sorted(place for place in places - known if place.prediction_id in erased)


def _remove_if_spent(engine: Engine, path: Path) -> None:
    """Remove a segment that was drained to its end and has no image left, once nobody writes it."""
    with engine.connect() as connection:
        mine = segments.c.name == path.name
        drained = connection.scalar(select(segments.c.drained_to).where(mine)) or 0
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if os.fstat(file.fileno()).st_size != drained:
            return
        ids = [str(record.fields["prediction_id"]) for record in read_records(path)]
        with engine.connect() as connection:
            for part in chunks(ids):
                left = select(func.count()).select_from(predictions)
                left = left.where(predictions.c.prediction_id.in_(part))
                if connection.scalar(left.where(predictions.c.erased.is_(None))):
                    return
        path.unlink(missing_ok=True)
