"""Random writes to the tables that the counts are about, several rows at a time."""

import random

from sqlalchemy import Connection, delete, insert, select

from core import journal
from core.database import now
from labeling.ledger.reasons import Outcome
from labeling.ledger.tables import (
    assignments,
    audit,
    labels,
    refusals,
    refused_answers,
    rounds,
    samples,
)


def write_randomly(connection: Connection, rng: random.Random) -> None:
    """One statement that some code of ours might send, on rows drawn at random."""
    rng.choice(WRITES)(connection, rng)


def _draw_samples(connection: Connection, rng: random.Random) -> list[str]:
    sample_ids = sorted(connection.scalars(select(samples.c.sample_id)))
    return rng.sample(sample_ids, min(len(sample_ids), rng.randint(1, 3)))


def _add_samples(connection: Connection, rng: random.Random) -> None:
    rows = [
        {
            "sample_id": f"{rng.getrandbits(64):016x}", "shard": "s", "offset": 0, "length": 1,
            "stored_sha256": "", "format": "PNG", "width": 8, "height": 8, "thumbnail": b"",
            "group_id": f"group {rng.randint(1, 4)}", "origin": rng.choice(["ingest", "served"]),
            "added_at": now(),
        }
        for _ in range(rng.randint(1, 4))
    ]  # fmt: skip
    journal.insert(connection, samples, rows)


def _merge_groups(connection: Connection, rng: random.Random) -> None:
    old, new = (f"group {rng.randint(1, 4)}" for _ in range(2))
    journal.update(connection, samples, samples.c.group_id == old, group_id=new)


def _label(connection: Connection, rng: random.Random) -> None:
    in_force = select(labels.c.sample_id).where(labels.c.replaced_at.is_(None))
    labelled = set(connection.scalars(in_force))
    rows = [
        {"sample_id": key, "label": "cat", "trust": 1.0, "annotators": [], "method": "single",
         "settled_at": now()}
        for key in _draw_samples(connection, rng) if key not in labelled
    ]  # fmt: skip
    journal.insert(connection, labels, rows)


def _withdraw(connection: Connection, rng: random.Random) -> None:
    mine = labels.c.sample_id.in_(_draw_samples(connection, rng)), labels.c.replaced_at.is_(None)
    journal.update(connection, labels, *mine, replaced_at=now())


def _ask(connection: Connection, rng: random.Random) -> None:
    number = len(connection.scalars(select(rounds.c.number)).all()) + 1
    row = {"round_id": f"round-{number:04d}", "number": number, "strategy": "margin", "seed": 0}
    row |= {"config": {}, "why": "", "chosen_at": now()}
    journal.insert(connection, rounds, [row])
    asked = select(assignments.c.sample_id).where(assignments.c.closed_at.is_(None))
    open_now = set(connection.scalars(asked))
    drawn = [key for key in _draw_samples(connection, rng) if key not in open_now]
    rows = [
        {"round_id": row["round_id"], "sample_id": key, "position": 0, "reason": "margin"}
        for key in drawn
    ]
    journal.insert(connection, assignments, rows)
    audited = set(connection.scalars(select(audit.c.sample_id)))
    about = {"round_id": row["round_id"], "inclusion_probability": 0.1, "drawn_at": now()}
    new = [{"sample_id": key, **about} for key in drawn if key not in audited]
    if new and rng.random() < 0.5:
        journal.insert(connection, audit, new)


def _close(connection: Connection, rng: random.Random) -> None:
    mine = assignments.c.sample_id.in_(_draw_samples(connection, rng))
    ended = {"closed_at": now(), "outcome": rng.choice(list(Outcome)).value}
    journal.update(connection, assignments, mine, **ended)


def _reopen(connection: Connection, rng: random.Random) -> None:
    asked = select(assignments.c.sample_id).where(assignments.c.closed_at.is_(None))
    open_now = set(connection.scalars(asked))
    for key in set(_draw_samples(connection, rng)) - open_now:
        last = select(assignments.c.round_id).where(assignments.c.sample_id == key)
        round_id = connection.scalar(last.order_by(assignments.c.round_id.desc()).limit(1))
        mine = assignments.c.sample_id == key, assignments.c.round_id == round_id
        journal.update(connection, assignments, *mine, closed_at=None, outcome=None)


def _leave_audit(connection: Connection, rng: random.Random) -> None:
    mine = audit.c.sample_id.in_(_draw_samples(connection, rng))
    journal.delete(connection, audit, mine)


def _refuse(connection: Connection, rng: random.Random) -> None:
    connection.execute(delete(refusals).where(refusals.c.path == f"{rng.randint(1, 3)}"))
    row = {"path": f"{rng.randint(4, 99)}", "size": 1, "mtime_ns": 1, "detail": "",
           "reason": rng.choice(["not an image", "too: large"]), "refused_at": now()}  # fmt: skip
    connection.execute(delete(refusals).where(refusals.c.path == row["path"]))
    connection.execute(insert(refusals).values(**row))
    answer = {"source": "s", "external_id": f"{rng.getrandbits(32)}", "digest": "d"}
    why = {"reason": "unknown class", "detail": "", "seen_at": now()}
    connection.execute(insert(refused_answers).values(**answer, **why))


def _erase(connection: Connection, rng: random.Random) -> None:
    for key in _draw_samples(connection, rng)[:1]:
        for table in (labels, assignments, audit, samples):
            journal.delete(connection, table, table.c.sample_id == key)


WRITES = (
    _add_samples, _add_samples, _merge_groups, _label, _label, _withdraw, _ask, _ask, _close,
    _reopen, _leave_audit, _refuse, _erase,
)  # fmt: skip
