"""Answers from outside into the ledger, version by version."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, func, insert, select

from core import journal
from core.database import now, writing
from core.locks import Token, fence
from core.rows import chunks, records
from labeling.kinds import DEFAULT, KINDS, Kind
from labeling.ledger.pending import mark_pending
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.tables import answers, refused_answers, samples
from labeling.ledger.watermarks import drop_watermark, save_watermark, watermark_of

CHECKED = "classes"  # watermark: the classes that every answer in force is known to be of
ANSWER_COLUMNS = [
    "source",
    "external_id",  # unique key of the answer at its source; an edit keeps it
    "sample_id",
    "annotator",
    "kind",  # "answer", "skip", or "verdict": somebody's final word
    "value",  # class name; None for a skip
    "lead_time",  # seconds, where the source knows
    "updated_at",  # the source's clock
    "round_id",  # in which it was given, where the source knows
]


def record_answers(
    engine: Engine,
    token: Token,
    given: pd.DataFrame,
    *,
    source: str,
    read: Collection[str],
    refused: pd.DataFrame | None = None,
    classes: Sequence[str],
    kind: Kind = KINDS[DEFAULT],
    watermark: str | None = None,
) -> dict[str, int]:
    """Take over the answers of `source` to the samples in `read`; return how many rows were new.

    `given` holds all answers to each sample in `read`, so that one which is missing there was
    deleted. Safe to repeat: a version already known is not recorded again. The watermark moves in
    the same transaction as the answers it stands for.
    """
    with writing(engine) as connection:
        fence(connection, token)
        good, bad = _sift(connection, given, classes, kind)
        if refused is not None and len(refused):
            bad = pd.concat([bad, refused], ignore_index=True)
        counts = {
            "withdrawn": _close_missing(connection, source, set(read), good),
            "new": _record_versions(connection, source, good),
            "refused": _record_refused(connection, source, bad),
        }
        _note_classes(connection, classes, kind)
        if watermark is not None:
            save_watermark(connection, source, watermark)
    return counts


def refuse_lost_classes(
    connection: Connection, classes: Sequence[str], kind: Kind = KINDS[DEFAULT]
) -> None:
    """Stop where `hone.toml` lacks a class that answers in force name: they would be lost.

    What is recorded is checked then, so that the answers are read only if the classes changed.
    """
    if watermark_of(connection, CHECKED) == _text_of(classes):
        return
    for name, rows in sorted(_lost_classes(connection, classes, kind).items()):
        raise ValueError(
            f"the class {name!r} is gone from hone.toml, but {rows} answers chose it; put it back. "
            "To rename or merge classes: `hone export labels`, change the names in its CSV, and "
            "`hone import` that into a workspace with the new classes"
        )


def _lost_classes(connection: Connection, classes: Sequence[str], kind: Kind) -> Counter[str]:
    """How many answers in force name each class that is not one of `classes`."""
    values = (
        select(answers.c.value, func.count())
        .where(answers.c.replaced_at.is_(None), answers.c.kind != AnswerKind.SKIP)
        .group_by(answers.c.value)
    )
    lost: Counter[str] = Counter()
    for value, rows in connection.execute(values).tuples():
        lost.update(dict.fromkeys(kind.classes_of(value) - set(classes), rows))
    return lost


def _note_classes(connection: Connection, classes: Sequence[str], kind: Kind) -> None:
    """Remember that every answer in force is of these classes, if that is so."""
    if watermark_of(connection, CHECKED) == _text_of(classes):
        return
    if _lost_classes(connection, classes, kind):
        drop_watermark(connection, CHECKED)
    else:
        save_watermark(connection, CHECKED, _text_of(classes))


def _text_of(classes: Sequence[str]) -> str:
    return json.dumps(list(classes))


def _sift(
    connection: Connection, given: pd.DataFrame, classes: Sequence[str], kind: Kind
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers that may become labels, and those that may not with the reason."""
    known = set(known_samples(connection, given["sample_id"].unique().tolist()))
    is_unknown_sample = ~given["sample_id"].isin(known)
    is_value = given["kind"] != AnswerKind.SKIP
    unusable = [
        value
        for value in given.loc[is_value, "value"].unique()
        if not isinstance(value, str) or not kind.classes_of(value) <= set(classes)
    ]
    is_unknown_class = ~is_unknown_sample & is_value & given["value"].isin(unusable)
    bad = given[is_unknown_sample | is_unknown_class].copy()
    bad["reason"] = [
        "UNKNOWN_SAMPLE" if is_unknown else "UNKNOWN_CLASS"
        for is_unknown in is_unknown_sample[bad.index]
    ]
    remedies = {
        "UNKNOWN_SAMPLE": "it is not in this workspace; was the task's data edited?",
        "UNKNOWN_CLASS": f"the classes are {', '.join(classes)}",
    }
    bad["detail"] = [
        f"{row.value!r} on sample {str(row.sample_id)[:12]}; {remedies[str(row.reason)]}"
        for row in bad.itertuples()
    ]
    return given[~(is_unknown_sample | is_unknown_class)], bad


def known_samples(connection: Connection, wanted: Sequence[str]) -> Iterator[str]:
    """Those of `wanted` that are samples in our care."""
    for keys in chunks(wanted):
        yield from connection.scalars(
            select(samples.c.sample_id).where(samples.c.sample_id.in_(keys))
        )


def _close_missing(connection: Connection, source: str, read: set[str], good: pd.DataFrame) -> int:
    """Close answers that their source no longer has."""
    there = set(good["external_id"])
    gone: dict[int, str] = {}
    for keys in chunks(sorted(read)):
        rows = connection.execute(
            select(answers.c.seq, answers.c.sample_id, answers.c.external_id).where(
                answers.c.source == source,
                answers.c.replaced_at.is_(None),
                answers.c.sample_id.in_(keys),
            )
        )
        gone |= {row.seq: row.sample_id for row in rows if row.external_id not in there}
    _close_answers(connection, list(gone))
    mark_pending(connection, set(gone.values()))
    return len(gone)


def _record_versions(connection: Connection, source: str, good: pd.DataFrame) -> int:
    """Record each version of an answer that is not in force already; return how many were not.

    Two versions of one answer come one after the other, in the order given.
    """
    turns = good.groupby(good.groupby("external_id").cumcount())
    return sum(_record_turn(connection, source, turn) for _, turn in turns)


def _record_turn(connection: Connection, source: str, turn: pd.DataFrame) -> int:
    rows = records(turn.reindex(columns=ANSWER_COLUMNS))
    versions = _versions(connection, source, [row["external_id"] for row in rows])
    touched: set[str] = set()
    closed: list[int] = []
    back: list[int] = []
    fresh: list[dict[str, Any]] = []
    for row in rows:
        digest = answer_digest(row)
        known = versions[row["external_id"]]
        in_force = {v.digest: v.seq for v in known if v.replaced_at is None}
        if digest in in_force:
            continue
        touched |= {row["sample_id"], *(v.sample_id for v in known if v.replaced_at is None)}
        closed += in_force.values()
        at = row["updated_at"]
        before = [v.seq for v in known if (v.updated_at, v.digest) == (at, digest)]
        back += before  # it was deleted, and is back as it was
        fresh += [] if before else [{**row, "digest": digest, "seen_at": now()}]
    _close_answers(connection, closed)
    for keys in chunks(back):
        journal.update(connection, answers, answers.c.seq.in_(keys), replaced_at=None)
    journal.insert(connection, answers, fresh)
    mark_pending(connection, touched)
    return len(fresh) + len(back)


def _versions(
    connection: Connection, source: str, external_ids: Sequence[str]
) -> dict[str, list[Any]]:
    """Every version on record of each of these answers."""
    known: dict[str, list[Any]] = {key: [] for key in external_ids}
    columns = answers.c["seq", "sample_id", "external_id", "updated_at", "digest", "replaced_at"]
    for keys in chunks(external_ids):
        mine = answers.c.source == source, answers.c.external_id.in_(keys)
        for version in connection.execute(select(*columns).where(*mine)):
            known[version.external_id].append(version)
    return known


def _record_refused(connection: Connection, source: str, bad: pd.DataFrame) -> int:
    """Keep what was refused, once each, with its reason."""
    fresh: dict[tuple[str, str], dict[str, Any]] = {}
    for row in records(bad):
        key = {
            "external_id": str(row["external_id"]),
            "digest": str(row.get("digest") or answer_digest(row)),
        }
        words = {k: row.get(k) for k in ("sample_id", "annotator", "reason", "detail")}
        fresh[key["external_id"], key["digest"]] = {**key, **words, "source": source}
    columns = refused_answers.c["external_id", "digest"]
    for keys in chunks(sorted({external_id for external_id, _ in fresh})):
        mine = refused_answers.c.source == source, refused_answers.c.external_id.in_(keys)
        for known in connection.execute(select(*columns).where(*mine)).tuples():
            fresh.pop(known, None)
    if fresh:
        rows = [{**row, "seen_at": now()} for row in fresh.values()]
        connection.execute(insert(refused_answers), rows)
    return len(fresh)


def _close_answers(connection: Connection, seqs: Sequence[int]) -> None:
    for keys in chunks(seqs):
        journal.update(connection, answers, answers.c.seq.in_(keys), replaced_at=now())


def answer_digest(row: Mapping[str, Any]) -> str:
    """What tells two versions of an answer: its annotator, kind and value."""
    words = [row.get("annotator"), row.get("kind"), row.get("value")]
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()
