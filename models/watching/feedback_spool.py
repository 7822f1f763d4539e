"""The feedback that services recorded, from their segments into the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, select

from core.database import writing
from core.locks import Token, fence
from core.rows import chunks
from models.serving.drained import note_progress, progress
from models.serving.feedback_records import Feedback, fields_of_record
from models.serving.segment_reader import Damage, Record, scan
from models.serving.segments import remove_if_abandoned
from models.watching.outcome_tables import outcomes
from models.watching.outcomes import ClassNames, RecordedOutcomes, record_outcomes

FOLDER = "feedback"  # in that of the traffic: models.serving.feedback writes it
CHUNK = 2_000  # records in one transaction


@dataclass(frozen=True)
class SpoolState:
    """What a segment of feedback holds beside what the database has of it."""

    name: str
    damage: list[Damage]
    waiting: int  # whole records that are not drained yet
    waits_since: str | None
    lost: int  # records that count as drained and whose prediction has no outcome


def drain_spool(engine: Engine, token: Token, traffic: Path, names: ClassNames) -> RecordedOutcomes:
    """Record what was appended since the last time. Idempotent, under the lock "feedback".

    Records and the place up to which they were read are stored in one transaction.
    """
    total = RecordedOutcomes()
    for path, size, done in progress(engine, traffic, FOLDER):
        if not size and not done:
            remove_if_abandoned(path)
        if size <= done:
            continue
        records = _readable(path, done)
        while part := list(islice(records, CHUNK)):
            with writing(engine) as connection:
                fence(connection, token)
                total += record_outcomes(
                    connection, [Feedback(**record.fields) for record in part], names
                )
                note_progress(connection, FOLDER, path.name, part[-1].end)
    return total


def undrained_feedback(engine: Engine, traffic: Path) -> int:
    """How many segments have whole records that were not copied into the database yet."""
    behind = [(path, done) for path, size, done in progress(engine, traffic, FOLDER) if size > done]
    return sum(any(True for _ in _records(path, done)) for path, done in behind)


def spool_states(engine: Engine, traffic: Path) -> Iterator[SpoolState]:
    """The state of each segment, by reading all of it."""
    for path, _, done in progress(engine, traffic, FOLDER):
        damage: list[Damage] = []
        waiting: list[str] = []
        drained: set[str] = set()
        for part in scan(path, fields_of=fields_of_record):
            if isinstance(part, Damage):
                damage.append(part)
            elif part.end <= done:
                drained.add(str(part.fields["prediction_id"]))
            else:
                waiting.append(str(part.fields["received_at"]))
        since = min(waiting, default=None)
        lost = len(drained) - _with_outcomes(engine, sorted(drained))
        yield SpoolState(path.name, damage, len(waiting), since, lost)


def _with_outcomes(engine: Engine, ids: list[str]) -> int:
    column = outcomes.c.prediction_id
    with engine.connect() as connection:
        return sum(
            len(connection.scalars(select(column).where(column.in_(keys)).distinct()).all())
            for keys in chunks(ids)
        )


def _records(path: Path, start: int) -> Iterator[Record]:
    parts = scan(path, start, fields_of=fields_of_record)
    return (part for part in parts if isinstance(part, Record))


def _readable(path: Path, start: int) -> Iterator[Record]:
    for part in scan(path, start, fields_of=fields_of_record):
        if isinstance(part, Record):
            yield part
        else:
            print(f"{damage_sentence(part)}; the rest is taken. `hone fsck` names it")


def damage_sentence(damage: Damage) -> str:
    """Where feedback is damaged, and how much of it is lost."""
    return (
        f"segment {FOLDER}/{damage.segment} is damaged from byte {damage.start} to {damage.end}: "
        f"truths that cannot be read: at least {damage.records}"
    )
