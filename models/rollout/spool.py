"""The spool of trials: what services recorded in segments, drained into the database."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select

from core.database import writing
from core.locks import Token, fence, only_writer
from core.rows import chunks
from models.rollout.store import shadow_answers, shadow_records, trials
from models.serving.drained import note_progress, progress
from models.serving.segment_reader import Damage, Record, scan
from models.serving.segments import remove_if_abandoned
from models.serving.shadow_records import FOLDER, ShadowRecord, fields_of_record, shadow_record

CHUNK = 50  # records of up to 64 answers in one transaction


def drain_shadow(engine: Engine, traffic: Path) -> int:
    """Copy what services recorded of trials into the database; return how many answers are new.

    Idempotent, and safe to call from many processes, as `prediction_store.drain`.
    """
    for path, size, done in progress(engine, traffic, FOLDER):
        if not size and not done:
            remove_if_abandoned(path)
    if not any(size > done for _, size, done in progress(engine, traffic, FOLDER)):
        return 0
    added = 0
    with only_writer(engine, "shadow") as token:
        for path, size, done in progress(engine, traffic, FOLDER):
            records = _readable(path, done) if size > done else iter(())
            while part := list(islice(records, CHUNK)):
                added += _store(engine, token, path.name, part)
    return added


def drain_shadow_again(engine: Engine, traffic: Path) -> int:
    """Drain from their beginning the segments that count as drained and are not all stored.

    Returns how many answers are new; a trial's evidence is then gathered anew, with all of them.
    """
    ahead = [one.path.name for one in shadow_spool(engine, traffic) if one.lost]
    if not ahead:
        return 0
    with only_writer(engine, "shadow") as token, writing(engine) as connection:
        fence(connection, token)
        for name in ahead:
            note_progress(connection, FOLDER, name, 0)
        connection.execute(delete(trials))
    return drain_shadow(engine, traffic)


@dataclass(frozen=True)
class SpoolState:
    """What of one segment is damaged, waits to be drained, or was drained and is not stored."""

    path: Path
    damage: list[Damage]
    waiting: int  # records
    waits_since: str | None
    lost: int


def shadow_spool(engine: Engine, traffic: Path) -> Iterator[SpoolState]:
    """The state of each segment that services record trials in."""
    for path, _, done in progress(engine, traffic, FOLDER):
        damage, waiting, drained = list[Damage](), list[str](), list[str]()
        for part in scan(path, fields_of=fields_of_record):
            if isinstance(part, Damage):
                damage.append(part)
            elif part.end > done:
                waiting.append(str(part.fields["at"]))
            else:
                drained.append(str(part.fields["record_id"]))
        with engine.connect() as connection:
            stored = {
                one
                for keys in chunks(sorted(set(drained)))
                for one in connection.scalars(
                    select(shadow_records.c.record_id).where(shadow_records.c.record_id.in_(keys))
                )
            }
        lost = len(set(drained) - stored)
        yield SpoolState(path, damage, len(waiting), min(waiting, default=None), lost)


def _store(engine: Engine, token: Token, name: str, part: list[Record]) -> int:
    records = [shadow_record(one.fields) for one in part]
    with writing(engine) as connection:
        fence(connection, token)
        ids = [one.record_id for one in records]
        known = select(shadow_records.c.record_id).where(shadow_records.c.record_id.in_(ids))
        taken = set(connection.scalars(known))
        new = list({one.record_id: one for one in records if one.record_id not in taken}.values())
        added = _insert_records(connection, new)
        note_progress(connection, FOLDER, name, part[-1].end)
    return added


def _insert_records(connection: Connection, records: Sequence[ShadowRecord]) -> int:
    seq = connection.scalar(select(func.max(shadow_records.c.seq))) or 0
    rows = [_record_row(one, number) for number, one in enumerate(records, start=seq + 1)]
    if rows:
        connection.execute(insert(shadow_records), rows)
    answers = [
        {"release": one.release, "champion": one.champion, "challenger": one.challenger,
         **asdict(answer)}
        for one in records for answer in one.answers
    ]  # fmt: skip
    known = _known(connection, "prediction_id", answers)
    before = _known(connection, "sample_id", answers)
    seq = connection.scalar(select(func.max(shadow_answers.c.seq))) or 0
    fresh: list[dict[str, Any]] = []
    for answer in answers:
        key, sample = ((answer["challenger"], answer[of]) for of in ("prediction_id", "sample_id"))
        if key not in known:
            fresh.append({**answer, "seq": seq + len(fresh) + 1, "repeated": sample in before})
        known.add(key)
        before.add(sample)
    if fresh:
        connection.execute(insert(shadow_answers), fresh)
    return len(fresh)


def _known(
    connection: Connection, of: str, answers: Sequence[dict[str, Any]]
) -> set[tuple[str, str]]:
    """Challenger and this column of the answers that are stored already."""
    column, values = shadow_answers.c[of], sorted({one[of] for one in answers})
    names = {one["challenger"] for one in answers}
    query = select(shadow_answers.c.challenger, column).where(
        shadow_answers.c.challenger.in_(names)
    )
    return {
        (row[0], row[1])
        for keys in chunks(values)
        for row in connection.execute(query.where(column.in_(keys)))
    }


def _record_row(record: ShadowRecord, seq: int) -> dict[str, Any]:
    failed = sum(one.label is None for one in record.answers)
    return {
        "record_id": record.record_id,
        "seq": seq,
        "release": record.release,
        "champion": record.champion,
        "challenger": record.challenger,
        "at": record.at,
        "answered": len(record.answers) - failed,
        "failed": failed,
        "passed_over": record.passed_over,
        "champion_answered": record.champion_live.answered,
        "champion_failed": record.champion_live.failed,
        "challenger_answered": record.challenger_live.answered,
        "challenger_failed": record.challenger_live.failed,
        "timings": [list(pair) for pair in record.timings],
    }


def _readable(path: Path, start: int) -> Iterator[Record]:
    for part in scan(path, start, fields_of=fields_of_record):
        if isinstance(part, Record):
            yield part
        else:
            print(
                f"segment {FOLDER}/{part.segment} is damaged from byte {part.start} to "
                f"{part.end}: what a challenger answered there is lost; the rest is taken"
            )
