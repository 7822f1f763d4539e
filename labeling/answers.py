"""What came back: answers into the ledger, version by version, and labels settled from them."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from ground.database import now, writing
from ground.journal import Token, fence
from labeling.consensus import SettlePolicy, settle
from labeling.ledger import (
    answers,
    assignments,
    labels,
    refused_answers,
    rounds,
    samples,
    watermarks,
)

ANSWER_COLUMNS = [
    "source",
    "outside_id",  # unique key of the answer at its source; an edit keeps it
    "sample_id",
    "annotator",
    "kind",  # "answer" or "skip"
    "value",  # class name; None for a skip
    "lead_time",  # seconds, where the source knows
    "updated_at",  # the source's clock
]
CHUNK = 500  # keys in one IN list: every database takes that many


def record_answers(
    engine: Engine,
    token: Token,
    found: pd.DataFrame,
    *,
    source: str,
    read: Collection[str],
    refused: pd.DataFrame | None = None,
    classes: Sequence[str],
    watermark: str | None = None,
) -> dict[str, int]:
    """Take over what `source` says now of the samples in `read`; return how many rows were new.

    `found` holds the whole set of answers of each sample in `read`, so an answer that is missing
    there was deleted. Safe to repeat: a version already known is not recorded again. The watermark
    moves in the same transaction as the answers it stands for.
    """
    with writing(engine) as connection:
        fence(connection, token)
        good, bad = _sift(connection, found, classes)
        if refused is not None and len(refused):
            bad = pd.concat([bad, refused], ignore_index=True)
        counts = {
            "withdrawn": _close_missing(connection, source, set(read), good),
            "new": sum(_record_version(connection, row) for row in _records(good)),
            "refused": _record_refused(connection, source, bad),
        }
        if watermark is not None:
            save_watermark(connection, source, watermark)
    return counts


def settle_labels(engine: Engine, token: Token, policy: SettlePolicy) -> dict[str, int]:
    """Turn the answers in force into labels; return how many were settled, changed, withdrawn.

    A label that changes is closed and a new row stands beside it. An assignment ends when its
    sample has a label, or when everybody who saw it skipped it.
    """
    with engine.connect() as connection:
        given = answers_in_force(connection)
        standing = {
            row.sample_id: row
            for row in connection.execute(select(labels).where(labels.c.replaced_at.is_(None)))
        }
    verdicts = settle(given, policy)
    settled = {row["sample_id"]: row for row in _records(verdicts[verdicts["label"].notna()])}
    new = [row for key, row in settled.items() if _differs(standing.get(key), row)]
    gone = [key for key, row in standing.items() if key not in settled and row.method != "import"]
    with writing(engine) as connection:
        fence(connection, token)
        changed = [row["sample_id"] for row in new if row["sample_id"] in standing]
        _close_labels(connection, gone + changed)
        _insert_labels(connection, new)
        skipped = _close_assignments(connection)
        _close_rounds(connection)
    asked = len(verdicts) - len(settled)
    return {
        "settled": len(new) - len(changed),
        "changed": len(changed),
        "withdrawn": len(gone),
        "skipped": skipped,
        "ask_again": asked,
    }


def answers_in_force(connection: Connection) -> pd.DataFrame:
    """What people say now, skips left out."""
    query = select(answers.c.seq, answers.c.sample_id, answers.c.annotator, answers.c.value)
    standing = answers.c.replaced_at.is_(None), answers.c.kind == "answer"
    return pd.read_sql(query.where(*standing), connection)


def unsettled_samples(
    connection: Connection, wanted: Sequence[str], policy: SettlePolicy
) -> tuple[set[str], set[str]]:
    """Of the samples `wanted`: those nobody answered, and those whose answers do not settle."""
    given = answers_in_force(connection)
    given = given[given["sample_id"].isin(set(wanted))]
    verdicts = settle(given, policy)
    disputed = set(verdicts.loc[verdicts["label"].isna(), "sample_id"])
    return set(wanted) - set(given["sample_id"]), disputed


def watermark_of(connection: Connection, name: str) -> str | None:
    """How far `name` was read."""
    return connection.scalar(select(watermarks.c.value).where(watermarks.c.name == name))


def save_watermark(connection: Connection, name: str, value: str) -> None:
    """Remember how far `name` was read."""
    connection.execute(delete(watermarks).where(watermarks.c.name == name))
    connection.execute(insert(watermarks).values(name=name, value=value))


def _sift(
    connection: Connection, found: pd.DataFrame, classes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers that may become labels, and those that may not with the reason."""
    ours = set(known_samples(connection, found["sample_id"].unique().tolist()))
    stranger = ~found["sample_id"].isin(ours)
    nonsense = ~stranger & (found["kind"] == "answer") & ~found["value"].isin(list(classes))
    bad = found[stranger | nonsense].copy()
    bad["reason"] = ["UNKNOWN_SAMPLE" if s else "UNKNOWN_CLASS" for s in stranger[bad.index]]
    bad["detail"] = [
        f"{row.value!r} on sample {str(row.sample_id)[:12]}; the classes are {', '.join(classes)}"
        for row in bad.itertuples()
    ]
    return found[~(stranger | nonsense)], bad


def known_samples(connection: Connection, wanted: Sequence[str]) -> Iterator[str]:
    """Those of `wanted` that are samples in our care."""
    for keys in _chunks(wanted):
        yield from connection.scalars(
            select(samples.c.sample_id).where(samples.c.sample_id.in_(keys))
        )


def _close_missing(connection: Connection, source: str, read: set[str], good: pd.DataFrame) -> int:
    """Close answers that their source no longer has."""
    there = set(good["outside_id"])
    gone: list[int] = []
    for keys in _chunks(sorted(read)):
        rows = connection.execute(
            select(answers.c.seq, answers.c.outside_id).where(
                answers.c.source == source,
                answers.c.replaced_at.is_(None),
                answers.c.sample_id.in_(keys),
            )
        )
        gone += [row.seq for row in rows if row.outside_id not in there]
    _close_answers(connection, gone)
    return len(gone)


def _record_version(connection: Connection, row: dict[str, Any]) -> bool:
    """Record one version of one answer; False when it is in force already."""
    row = {key: None if pd.isna(row[key]) else row[key] for key in ANSWER_COLUMNS}
    digest = _digest(row)
    mine = (answers.c.source == row["source"]) & (answers.c.outside_id == row["outside_id"])
    versions = connection.execute(
        select(answers.c.seq, answers.c.updated_at, answers.c.digest, answers.c.replaced_at).where(
            mine
        )
    ).all()
    in_force = [v for v in versions if v.replaced_at is None]
    if any(v.digest == digest for v in in_force):
        return False
    _close_answers(connection, [v.seq for v in in_force])
    before = [v for v in versions if (v.updated_at, v.digest) == (row["updated_at"], digest)]
    if before:  # it was deleted, and is back as it was
        connection.execute(
            update(answers).where(answers.c.seq == before[0].seq).values(replaced_at=None)
        )
    else:
        connection.execute(insert(answers).values(**row, digest=digest, seen_at=now()))
    return True


def _record_refused(connection: Connection, source: str, bad: pd.DataFrame) -> int:
    """Keep what was refused, once each, with its reason."""
    new = 0
    for row in _records(bad):
        key = {
            "source": source,
            "outside_id": str(row["outside_id"]),
            "digest": str(row.get("digest") or _digest(row)),
        }
        match = [refused_answers.c[name] == value for name, value in key.items()]
        if connection.execute(select(refused_answers.c.digest).where(*match)).first():
            continue
        words = {k: row.get(k) for k in ("sample_id", "annotator", "reason", "detail")}
        connection.execute(insert(refused_answers).values(**key, **words, seen_at=now()))
        new += 1
    return new


def _close_answers(connection: Connection, seqs: Sequence[int]) -> None:
    for keys in _chunks(seqs):
        connection.execute(update(answers).where(answers.c.seq.in_(keys)).values(replaced_at=now()))


def _close_labels(connection: Connection, sample_ids: Sequence[str]) -> None:
    for keys in _chunks(sample_ids):
        connection.execute(
            update(labels)
            .where(labels.c.sample_id.in_(keys), labels.c.replaced_at.is_(None))
            .values(replaced_at=now())
        )


def _insert_labels(connection: Connection, settled: Sequence[dict[str, Any]]) -> None:
    asked_in = dict(
        connection.execute(
            select(assignments.c.sample_id, assignments.c.round_id).order_by(assignments.c.round_id)
        )
        .tuples()
        .all()
    )
    rows = [
        {
            "sample_id": row["sample_id"],
            "round_id": asked_in.get(row["sample_id"]),
            "label": row["label"],
            "trust": float(row["trust"]),
            "annotators": json.dumps(list(row["annotators"])),
            "answers": json.dumps([int(seq) for seq in row["answers"]]),
            "method": row["method"],
            "settled_at": now(),
        }
        for row in settled
    ]
    if rows:
        connection.execute(insert(labels), rows)


def _close_assignments(connection: Connection) -> int:
    """End the assignments that have their label, and those that were only skipped."""
    labelled = select(labels.c.sample_id).where(labels.c.replaced_at.is_(None))
    in_force = select(answers.c.sample_id).where(answers.c.replaced_at.is_(None))
    open_ = assignments.c.closed_at.is_(None)
    answered = in_force.where(answers.c.kind == "answer")
    skipped = in_force.where(answers.c.kind == "skip", answers.c.sample_id.not_in(answered))
    ends = update(assignments).where(open_, assignments.c.sample_id == bindparam("sample"))
    counts = {}
    for outcome, query in (("labelled", labelled), ("skipped", skipped)):
        ended = connection.scalars(
            select(assignments.c.sample_id).where(open_, assignments.c.sample_id.in_(query))
        ).all()
        counts[outcome] = len(ended)
        if ended:
            connection.execute(
                ends.values(closed_at=now(), outcome=outcome), [{"sample": key} for key in ended]
            )
    return counts["skipped"]


def _close_rounds(connection: Connection) -> None:
    busy = select(assignments.c.round_id).where(assignments.c.closed_at.is_(None))
    connection.execute(
        update(rounds)
        .where(rounds.c.closed_at.is_(None), rounds.c.sent_at.is_not(None))
        .where(rounds.c.round_id.not_in(busy))
        .values(closed_at=now())
    )


def _differs(standing: Any, row: dict[str, Any]) -> bool:
    if standing is None:
        return True
    rests_on = sorted(int(seq) for seq in row["answers"])
    return (standing.label, sorted(json.loads(standing.answers))) != (row["label"], rests_on)


def _digest(row: dict[str, Any]) -> str:
    words = [row.get("annotator"), row.get("kind"), row.get("value")]
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
