"""What the standing audit promises, checked: who is in it, by which number, and for what."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.workspace import Workspace
from labeling.audit.membership import DRAWN, founders, key_of
from labeling.audit.numbers import audit_number, part_of
from labeling.ledger.reasons import Outcome, Reason
from labeling.ledger.tables import assignments, audit
from labeling.ledger.watermarks import watermark_of

DIGITS = 1e-12  # by which a number may differ, for it went through a database


def audit_samples_are_drawn(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Audit samples whose number, share or part is another than was drawn, or that are gone."""
    with engine.connect() as connection:
        key, share = key_of(connection), float(watermark_of(connection, DRAWN) or 0)
        for row in stream(connection, _DRAWN):
            of = f"audit sample {row.sample_id[:12]}"
            for what in (*_unlike_assignment(row), *_unlike_key(row, key, share)):
                yield Finding("I11", f"{of} {what}", RESTORE)
        for row in stream(connection, _FORGOTTEN):
            what = f"sample {row.sample_id[:12]} of {row.round_id} was asked for the audit"
            yield Finding("I11", f"{what} and is not in audit", RESTORE)
        for sample_id, number in _left_out(connection, key, share):
            what = f"sample {sample_id[:12]} has the number {number:.6f} and is not in audit"
            yield Finding("I11", what, RESTORE)


def _unlike_assignment(row: Row[Any]) -> Iterator[str]:
    """What an audit row has otherwise than the question about it, as the end of a sentence."""
    share = row.inclusion_probability
    if not (isinstance(share, float) and 0 < share <= 1):
        yield f"was drawn with probability {share}"
        return
    if row.reason != Reason.AUDIT and (row.number is None or row.round_id is not None):
        yield f"of {row.round_id} has no assignment as such"
    joined_later = row.report_share == 0  # drawn before there were numbers, asked with another
    if row.asked_with not in (None, share) and not joined_later:
        yield f"was drawn with probability {share}, its assignment has {row.asked_with}"


def _unlike_key(row: Row[Any], key: bytes | None, drawn: float) -> Iterator[str]:
    """What an audit row has otherwise than the key gives, as the end of a sentence."""
    if key is None:
        if row.number is not None:
            yield f"has the number {row.number}, and there is no key"
        return
    number, share = audit_number(key, row.sample_id), row.inclusion_probability
    if row.number is None:
        if number < drawn:
            yield f"has no number, the key gives {number:.6f}"
        return
    if not isinstance(row.number, float) or abs(row.number - number) > DIGITS:
        yield f"has the number {row.number}, the key gives {number:.6f}"
    elif number >= share:
        yield f"has the number {number:.6f}, not below its share {share}"
    report_share = row.report_share
    if not (isinstance(report_share, float) and 0 <= report_share < 1):
        yield f"was divided by the share {report_share}"
    elif row.part != (part := part_of(key, row.sample_id, report_share)):
        yield f"is of the part {row.part!r}, the key gives {part.value!r}"


def _left_out(
    connection: Connection, key: bytes | None, share: float
) -> Iterator[tuple[str, float]]:
    """Founders of groups below the share that are in no audit, with their numbers."""
    if key is None or not share:
        return
    for row in stream(connection, founders()):
        if (number := audit_number(key, row.sample_id)) < share:
            yield row.sample_id, number


_SAME_DRAW = (assignments.c.sample_id == audit.c.sample_id) & (
    assignments.c.round_id == audit.c.round_id
)
_DRAWN = (
    select(audit)
    .add_columns(assignments.c.inclusion_probability.label("asked_with"), assignments.c.reason)
    .join(assignments, _SAME_DRAW, isouter=True)
)
_FORGOTTEN = (
    select(*assignments.c["sample_id", "round_id"])
    .where(assignments.c.reason == Reason.AUDIT, assignments.c.outcome == Outcome.LABELLED)
    .where(assignments.c.sample_id.not_in(select(audit.c.sample_id)))
)
