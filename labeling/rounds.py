"""Rounds: who may be asked, who was chosen and why, and what is still before the annotators."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, Select, func, insert, select, update

from ground.database import now, writing
from ground.journal import Token, confirm, fence, intend, open_intents
from labeling.ledger import assignments, audit, labels, rounds, samples
from labeling.selection import SelectionConfig

SEND = "send-round"  # kind of the intent that stays open until every assignment is outside


def round_name(number: int) -> str:
    """`round-0001` for 1."""
    return f"round-{number:04d}"


def number_of(round_id: str) -> int:
    """1 for `round-0001`."""
    digits = round_id.removeprefix("round-")
    if not digits.isdecimal() or round_name(int(digits)) != round_id:
        raise ValueError(f"a round is named like {round_name(1)}; {round_id!r} is no such name")
    return int(digits)


def next_round(connection: Connection) -> str:
    """The round to work on: one that was chosen and not sent out wholly, else a new one."""
    unsent = open_intents(connection, SEND)
    if unsent:
        return min(unsent)
    last = connection.scalar(select(func.max(rounds.c.number))) or 0
    return round_name(last + 1)


def load_pool(connection: Connection) -> pd.DataFrame:
    """Samples that may be asked about, sorted: no label, not asked now, never skipped.

    Audit samples and their near-duplicates are not among them: those are never trained on.
    """
    query = (
        select(
            samples.c.sample_id,
            samples.c.group_id,
            samples.c.origin,
            samples.c.shard,
            samples.c.offset,
            samples.c.length,
            samples.c.stored_sha256,
        )
        .where(samples.c.sample_id.in_(pool_ids()))
        .order_by(samples.c.sample_id)
    )
    return pd.read_sql(query, connection)


def pool_ids() -> Select[tuple[str]]:
    """The pool as a query."""
    labelled = select(labels.c.sample_id).where(labels.c.replaced_at.is_(None))
    asked = select(assignments.c.sample_id).where(
        assignments.c.closed_at.is_(None) | (assignments.c.outcome == "skipped")
    )
    audited = select(samples.c.group_id).join(audit, audit.c.sample_id == samples.c.sample_id)
    return select(samples.c.sample_id).where(
        samples.c.sample_id.not_in(labelled),
        samples.c.sample_id.not_in(asked),
        samples.c.group_id.not_in(audited),
    )


def open_round(
    connection: Connection,
    token: Token,
    round_id: str,
    batch: pd.DataFrame,
    *,
    config: SelectionConfig,
    model: str | None,
    seed: int,
    why: str,
) -> None:
    """Write down the round, who is in it and why, before anything is sent; all of it or nothing."""
    number = number_of(round_id)
    rows = _rows(batch, round_id)
    drawn = [
        {
            "sample_id": row["sample_id"],
            "round_id": round_id,
            "drawn_at": now(),
            "inclusion_probability": row["inclusion_probability"],
        }
        for row in rows
        if row["reason"] == "audit"
    ]
    fence(connection, token)
    connection.execute(
        insert(rounds).values(
            round_id=round_id,
            number=number,
            strategy=config.strategy,
            model=model,
            seed=seed,
            config=json.dumps(asdict(config)),
            why=why,
            chosen_at=now(),
        )
    )
    if rows:
        connection.execute(insert(assignments), rows)
    if drawn:
        connection.execute(insert(audit), drawn)
    intend(connection, token, kind=SEND, key=round_id, payload={"size": len(rows)})


def size_of(connection: Connection, round_id: str) -> int | None:
    """How many samples the round has; None when it was not chosen yet."""
    if connection.scalar(select(rounds.c.number).where(rounds.c.round_id == round_id)) is None:
        return None
    members = select(func.count()).where(assignments.c.round_id == round_id)
    return connection.scalar(members) or 0


def count_open(connection: Connection) -> int:
    """How many samples are before annotators now."""
    return (
        connection.scalar(
            select(func.count()).select_from(assignments).where(assignments.c.closed_at.is_(None))
        )
        or 0
    )


def open_assignments(connection: Connection, round_id: str | None = None) -> pd.DataFrame:
    """Samples before annotators, of one round or of all, with their guess and their place."""
    query = (
        select(
            assignments,
            *[
                samples.c[name]
                for name in ("origin", "shard", "offset", "length", "stored_sha256", "format")
            ],
        )
        .join(samples, samples.c.sample_id == assignments.c.sample_id)
        .where(assignments.c.closed_at.is_(None))
        .order_by(assignments.c.round_id, assignments.c.position)
    )
    if round_id is not None:
        query = query.where(assignments.c.round_id == round_id)
    return pd.read_sql(query, connection)


def samples_of_open_rounds(connection: Connection) -> set[str]:
    """Everybody in a round that is not closed: those who answered may still change their mind."""
    query = select(assignments.c.sample_id).join(rounds).where(rounds.c.closed_at.is_(None))
    return set(connection.scalars(query))


def record_sent(
    engine: Engine, token: Token, round_id: str, outside_ids: Mapping[str, str]
) -> None:
    """Confirm that the whole round is before the annotators, and under which names."""
    with writing(engine) as connection:
        fence(connection, token)
        for sample_id, outside in outside_ids.items():
            connection.execute(
                update(assignments)
                .where(assignments.c.round_id == round_id, assignments.c.sample_id == sample_id)
                .values(outside_id=outside, sent_at=func.coalesce(assignments.c.sent_at, now()))
            )
        connection.execute(
            update(rounds)
            .where(rounds.c.round_id == round_id, rounds.c.sent_at.is_(None))
            .values(sent_at=now())
        )
        confirm(connection, token, kind=SEND, key=round_id)


def _rows(batch: pd.DataFrame, round_id: str) -> list[dict[str, Any]]:
    columns = [
        "sample_id",
        "position",
        "reason",
        "score",
        "inclusion_probability",
        "guess",
        "confidence",
        "guess_model",
    ]
    plain = batch.reindex(columns=columns).astype(object)
    plain = plain.where(plain.notna(), None)
    return [
        {**{str(k): v for k, v in row.items()}, "round_id": round_id}
        for row in plain.to_dict("records")
    ]
