"""Rounds: who may be asked, who was chosen and why, and what is still before the annotators."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    and_,
    func,
    select,
    union,
)

from core import journal
from core.database import now, writing
from core.intents import begin_intent, commit_intent, intents, open_intents
from core.locks import Token, fence
from core.rows import records
from core.table_schema import Schema, Type
from labeling.batches.batch import BATCH, Batch
from labeling.ledger.pending import mark_pending
from labeling.ledger.reasons import RELABEL_REASONS, Reason, SampleState
from labeling.ledger.tables import (
    assignments,
    audit,
    duel_samples,
    duels,
    gold,
    labels,
    rounds,
    sample_states,
    samples,
    sources,
)

# What a network and a strategy need to know of a sample.
IMAGE_COLUMNS = ("sample_id", "group_id", "origin", "shard", "offset", "length", "stored_sha256")
OPEN_ASSIGNMENTS = Schema(
    "open assignments",
    {
        "round_id": Type.TEXT,
        "sample_id": Type.TEXT,
        "reason": Type.TEXT,
        "external_id": Type.OPTIONAL_TEXT,  # what Label Studio calls it
        "sent_at": Type.OPTIONAL_TEXT,
    },
    key=("sample_id",),
)
ASKED = Schema(
    "asked of several annotators, or disputed",
    {
        "round_id": Type.TEXT,
        "sample_id": Type.TEXT,
        "required_annotators": Type.INTEGER,
        "disputed": Type.BOOLEAN,  # waits for a final word now
        "is_open": Type.BOOLEAN,
    },
    key=("round_id", "sample_id"),
)
SEND = "send-round"  # kind of the intent that stays open until every assignment is outside
RECENT = 100  # rounds among which a run that was killed finds its own


def round_name(number: int) -> str:
    """`round-0001` for 1."""
    return f"round-{number:04d}"


def round_number(round_id: str) -> int:
    """1 for `round-0001`."""
    digits = round_id.removeprefix("round-")
    if not digits.isdecimal() or round_name(int(digits)) != round_id:
        raise ValueError(f"a round is named like {round_name(1)}; {round_id!r} is no such name")
    return int(digits)


def new_round(connection: Connection) -> str:
    """The name of the round that is chosen next."""
    last = connection.scalar(select(func.max(rounds.c.number))) or 0
    return round_name(last + 1)


def unsent_rounds(connection: Connection) -> list[str]:
    """The rounds that were chosen and not sent wholly."""
    return sorted(open_intents(connection, SEND))


def begun_round(connection: Connection, run: str | None) -> str | None:
    """The round that this run of a deployment chose before it was killed, sent or not.

    Without a run: the first that a command chose and did not send, for it was given again.
    """
    if run is None:
        unsent = open_intents(connection, SEND)
        return min((key for key in unsent if unsent[key].get("run") is None), default=None)
    send = select(intents.c.key, intents.c.payload).where(intents.c.kind == SEND)
    recent = connection.execute(send.order_by(intents.c.intended_at.desc()).limit(RECENT))
    return next((row.key for row in recent if row.payload.get("run") == run), None)


def load_pool(connection: Connection, most: int | None = None) -> pd.DataFrame:
    """Samples that may be asked about, sorted: no label, not asked now, never skipped.

    Of more than `most` the first: a sample's name is a digest, so these are a random draw.

    Audit samples and their near-duplicates are not among them: those are never trained on. Nor is
    what was drawn for the duel under way: a strategy that took it would change what the duel asks.
    The `source` is the folder a sample came from, "served" for one out of the traffic.
    """
    drawn = select(duel_samples.c.sample_id).join(duels).where(duels.c.ended_at.is_(None))
    path = (
        select(sources.c.sample_id, func.min(sources.c.path).label("path"))
        .group_by(sources.c.sample_id)
        .subquery()
    )
    query = (
        select(*samples.c[IMAGE_COLUMNS], samples.c.added_at, path.c.path)
        .join(path, path.c.sample_id == samples.c.sample_id, isouter=True)
        .where(samples.c.sample_id.in_(pool_ids()), samples.c.sample_id.not_in(drawn))
    )
    pool = pd.read_sql(query.order_by(samples.c.sample_id).limit(most), connection)
    folder = pool.pop("path").astype(object).str.rpartition("/", expand=False).str[0]
    return pool.assign(source=folder.where(pool["origin"] != "served", "served"))


def load_gold(connection: Connection) -> pd.DataFrame:
    """Gold that may be asked now, and how often each was `asked` before; looks like the pool."""
    before = (
        select(assignments.c.sample_id, func.count().label("asked"))
        .where(assignments.c.reason == "gold")
        .group_by(assignments.c.sample_id)
        .subquery()
    )
    asked_now = select(assignments.c.sample_id).where(assignments.c.closed_at.is_(None))
    query = (
        select(*samples.c[IMAGE_COLUMNS], func.coalesce(before.c.asked, 0).label("asked"))
        .join(gold, gold.c.sample_id == samples.c.sample_id)
        .join(before, before.c.sample_id == samples.c.sample_id, isouter=True)
        .where(samples.c.sample_id.not_in(asked_now))
        .order_by(samples.c.sample_id)
    )
    return pd.read_sql(query, connection)


def load_labelled(connection: Connection) -> pd.DataFrame:
    """Samples whose label annotators settled, with the place of their image.

    Left out are gold, what is asked about now, and labels that were looked at again already.
    """
    asked = select(assignments.c.sample_id).where(
        assignments.c.closed_at.is_(None) | assignments.c.reason.in_(RELABEL_REASONS)
    )
    query = (
        select(*samples.c[IMAGE_COLUMNS], labels.c.label, labels.c.trust)
        .join(labels, labels.c.sample_id == samples.c.sample_id)
        .where(labels.c.replaced_at.is_(None), labels.c.method != "gold")
        .where(samples.c.sample_id.not_in(asked))
        .order_by(samples.c.sample_id)
    )
    return pd.read_sql(query, connection)


def load_labelled_or_pending(connection: Connection) -> pd.DataFrame:
    """What is trained on or will be, sorted: labelled, or before annotators (`label` is None then).

    A batch need not cover again what these cover. Audit samples and gold are not among them.
    """
    asked = select(assignments.c.sample_id).where(assignments.c.closed_at.is_(None))
    label = labels.c.label
    query = (
        select(*samples.c[IMAGE_COLUMNS], label)
        .join(
            labels,
            (labels.c.sample_id == samples.c.sample_id) & labels.c.replaced_at.is_(None),
            isouter=True,
        )
        .where(label.is_not(None) | samples.c.sample_id.in_(asked))
        .where(samples.c.sample_id.not_in(select(audit.c.sample_id)))
        .where(samples.c.sample_id.not_in(select(gold.c.sample_id)))
        .order_by(samples.c.sample_id)
    )
    return pd.read_sql(query, connection)


def recent_rounds(connection: Connection) -> list[tuple[str, bool]]:
    """Every round that was chosen but those of duels, and whether it is a review of labels."""
    query = select(rounds.c.round_id, rounds.c.strategy).order_by(rounds.c.number)
    chosen = query.where(rounds.c.strategy != Reason.DUEL)
    return [(name, strategy == "review") for name, strategy in connection.execute(chosen).tuples()]


def load_asked(connection: Connection) -> pd.DataFrame:
    """Assignments that several annotators are asked about, or that were disputed, as ASKED."""
    key = assignments.c["round_id", "sample_id"]
    is_open, is_disputed = assignments.c.closed_at.is_(None), assignments.c.disputed_at.is_not(None)
    several = select(*key).where(is_open, assignments.c.required_annotators > 1)
    asked = union(several, select(*key).where(is_disputed)).subquery()  # each by an index
    query = (
        select(
            *assignments.c["round_id", "sample_id", "required_annotators"],
            (is_disputed & is_open).label("disputed"),
            is_open.label("is_open"),
        )
        .select_from(asked)
        .join(assignments, and_(*(column == asked.c[column.name] for column in key)))
        .where(assignments.c.sent_at.is_not(None))
        .order_by(assignments.c.round_id, assignments.c.position)
    )
    table = pd.read_sql(query, connection)
    return ASKED.check(table.astype({"disputed": bool, "is_open": bool}))


def load_sent(connection: Connection, *, open_only: bool) -> set[tuple[str, str]]:
    """(sample, round) of every assignment that should be in Label Studio, or of the open ones."""
    query = select(assignments.c.sample_id, assignments.c.round_id).where(
        assignments.c.sent_at.is_not(None), func.coalesce(assignments.c.outcome, "") != "deleted"
    )
    if open_only:
        query = query.where(assignments.c.closed_at.is_(None))
    return set(connection.execute(query).tuples())


def record_deleted(engine: Engine, token: Token, gone: Iterable[tuple[str, str]]) -> None:
    """End assignments whose task somebody deleted; their samples go back to the pool.

    An audit sample is asked about again when its turn comes. One from before there were numbers
    leaves the audit, unless it had a label: then it was measured on and is never trained on.
    """
    had_label = select(labels.c.sample_id)
    gone = list(gone)
    with writing(engine) as connection:
        fence(connection, token)
        mark_pending(connection, {sample_id for sample_id, _ in gone})  # its round may be over
        for sample_id, round_id in gone:
            mine = assignments.c.round_id == round_id, assignments.c.sample_id == sample_id
            closed_at = func.coalesce(assignments.c.closed_at, now())
            journal.update(connection, assignments, *mine, closed_at=closed_at, outcome="deleted")
            drawn = audit.c.round_id == round_id, audit.c.sample_id == sample_id
            unlabelled = *drawn, audit.c.sample_id.not_in(had_label)
            is_former = audit.c.number.is_(None)
            journal.update(connection, audit, *unlabelled, ~is_former, round_id=None)
            journal.delete(connection, audit, *unlabelled, is_former)


def pool_ids() -> Select[tuple[str]]:
    """The pool as a query."""
    return select(sample_states.c.sample_id).where(sample_states.c.state == SampleState.POOL)


def open_round(
    connection: Connection,
    token: Token,
    round_id: str,
    batch: Batch,
    *,
    strategy: str,
    config: Mapping[str, Any],
    model: str | None,
    seed: int,
    why: str,
    rule: str | None = None,
    run: str | None = None,
) -> None:
    """Write down the round, who is in it and why, before anything is sent; all of it or nothing.

    `run` is the deployment's run that chooses it, which comes back to it after a kill.
    """
    rows = [{**row, "round_id": round_id} for row in records(batch.rows)]
    audited = [
        {"sample_id": row["sample_id"], "round_id": round_id}
        for row in rows
        if row["reason"] == Reason.AUDIT
    ]
    fence(connection, token)
    about = {
        "round_id": round_id,
        "number": round_number(round_id),
        "strategy": strategy,
        "rule": rule,
        "model": model,
        "seed": seed,
        "config": dict(config),
        "why": why,
        "chosen_at": now(),
    }
    journal.insert(connection, rounds, [about])
    journal.insert(connection, assignments, rows)
    journal.update_rows(connection, audit, audited)
    intent = {"size": len(rows), "run": run}
    begin_intent(connection, token, kind=SEND, key=round_id, payload=intent)


def latest_strategy(connection: Connection) -> str | None:
    """The strategy of the round that was chosen last; None before the first."""
    return connection.scalar(select(rounds.c.strategy).order_by(rounds.c.number.desc()).limit(1))


def latest_config(connection: Connection) -> Mapping[str, Any]:
    """How the round that was chosen last was chosen; empty before the first."""
    config = connection.scalar(select(rounds.c.config).order_by(rounds.c.number.desc()).limit(1))
    return config if isinstance(config, dict) else {}


def round_size(connection: Connection, round_id: str) -> int | None:
    """How many samples the round has; None when it was not chosen yet."""
    if connection.scalar(select(rounds.c.number).where(rounds.c.round_id == round_id)) is None:
        return None
    members = select(func.count()).where(assignments.c.round_id == round_id)
    return connection.scalar(members) or 0


def load_rule(connection: Connection, round_id: str) -> str:
    """By which rule the round was chosen, in words."""
    rule = connection.execute(
        select(func.coalesce(rounds.c.rule, rounds.c.strategy)).where(rounds.c.round_id == round_id)
    ).scalar()
    if rule is None:
        raise ValueError(f"there is no {round_id}; `hone status` says which there are")
    return rule


def open_assignments(connection: Connection, round_id: str | None = None) -> pd.DataFrame:
    """Open assignments, of one round or of all, as OPEN_ASSIGNMENTS declares."""
    query = (
        select(*assignments.c[tuple(OPEN_ASSIGNMENTS.columns)])
        .where(assignments.c.closed_at.is_(None))
        .order_by(assignments.c.round_id, assignments.c.position)
    )
    if round_id is not None:
        query = query.where(assignments.c.round_id == round_id)
    return OPEN_ASSIGNMENTS.check(pd.read_sql(query, connection))


def load_batch(connection: Connection, round_id: str) -> Batch:
    """The samples of a round that are before annotators, as they were chosen."""
    query = (
        select(*assignments.c[tuple(BATCH.columns)])
        .where(assignments.c.closed_at.is_(None), assignments.c.round_id == round_id)
        .order_by(assignments.c.position)
    )
    return Batch(pd.read_sql(query, connection).astype({"blind": bool}))


def samples_of_open_rounds(connection: Connection) -> set[str]:
    """The samples of every round that is not closed, and those shown beside them as most similar.

    Who answered may still change their mind.
    """
    busy = select(rounds.c.round_id).where(rounds.c.closed_at.is_(None))
    query = select(*assignments.c["sample_id", "most_similar"])
    rows = connection.execute(query.where(assignments.c.round_id.in_(busy))).all()
    return {sample_id for row in rows for sample_id in row if sample_id is not None}


def record_sent(
    engine: Engine, token: Token, round_id: str, external_ids: Mapping[str, str]
) -> None:
    """Confirm that the whole round is before the annotators, and under which names."""
    with writing(engine) as connection:
        fence(connection, token)
        members = select(*assignments.c["sample_id", "sent_at"])
        members = members.where(assignments.c.round_id == round_id)
        sent_at = dict(connection.execute(members).tuples().all())
        rows = [
            {
                "round_id": round_id,
                "sample_id": sample_id,
                "external_id": outside,
                "sent_at": sent_at.get(sample_id) or now(),
            }
            for sample_id, outside in external_ids.items()
        ]
        journal.update_rows(connection, assignments, rows)
        unsent = rounds.c.round_id == round_id, rounds.c.sent_at.is_(None)
        journal.update(connection, rounds, *unsent, sent_at=now())
        commit_intent(connection, token, kind=SEND, key=round_id)
