"""Who is in the standing audit: drawn when a group of near-duplicates is founded, for ever.

A group is in by the number of the sample that founded it (`labeling.audit.numbers`), and that
sample is the one that is asked about. `draw_standing_audit` catches up where the share was raised
or samples came in before there were numbers; a lowered share removes nobody.
"""

import secrets
from collections.abc import Iterable

from sqlalchemy import Connection, Select, func, select

from core import journal
from core.database import now
from labeling.audit.numbers import AuditPolicy, audit_number, part_of
from labeling.ledger.erased import erased_groups
from labeling.ledger.tables import audit, audit_key, gold, sample_states, samples
from labeling.ledger.watermarks import save_watermark, watermark_of

DRAWN = "audit-share"  # watermark: every group that is here was drawn with this share or more
KEY_BYTES = 32


def key_of(connection: Connection) -> bytes | None:
    """The key of the workspace; None before anything was drawn."""
    key = connection.scalar(select(audit_key.c.key))
    return None if key is None else bytes.fromhex(key)


def make_key(connection: Connection) -> bytes:
    """The key of the workspace, made at random where there is none yet."""
    journal.lock(connection)
    key = key_of(connection)
    if key is None:
        key = secrets.token_bytes(KEY_BYTES)
        _store_key(connection, key)
    return key


def set_key(connection: Connection, key: bytes) -> None:
    """Give a new workspace its key, so that the same images make the same audit in every run.

    Whoever knows the key knows the audit: only for tests and demonstrations.
    """
    journal.lock(connection)
    known = key_of(connection)
    if known == key:
        return
    if known is not None:
        raise ValueError("the workspace has another audit key already; set one before images come")
    _store_key(connection, key)


def draw_new_groups(connection: Connection, named: Iterable[str], policy: AuditPolicy) -> list[str]:
    """Draw groups that are new, each named by its first sample; return the samples drawn."""
    key = make_key(connection)
    numbers = {name: audit_number(key, name) for name in named}
    drawn = sorted(name for name, number in numbers.items() if number < policy.share)
    same = {"inclusion_probability": policy.share, "report_share": policy.report_share}
    at = {"round_id": None, "drawn_at": now()}
    rows = [
        {
            "sample_id": name,
            "number": numbers[name],
            "part": part_of(key, name, policy.report_share).value,
            **same,
            **at,
        }
        for name in drawn
    ]
    journal.insert(connection, audit, rows)
    return drawn


def draw_standing_audit(connection: Connection, policy: AuditPolicy) -> int:
    """Draw with this share from groups that were drawn with a smaller one or none; return how many.

    Groups that were trained on are drawn like all others. Gold is left out: people chose it. One
    row is read where nothing changed.
    """
    if _is_drawn(connection, policy):
        return 0
    journal.lock(connection)
    if _is_drawn(connection, policy):  # by another process meanwhile
        return 0
    before = float(watermark_of(connection, DRAWN) or 0)
    drawn: list[str] = []
    if before < policy.share:
        _number_former_rows(connection, policy)
        drawn = draw_new_groups(connection, connection.scalars(founders()).all(), policy)
    save_watermark(connection, DRAWN, repr(policy.share))
    return len(drawn)


def audit_groups(connection: Connection) -> set[str]:
    """The groups that are never trained on because one of them is in the audit, asked or not."""
    groups = select(sample_states.c.group_id).where(sample_states.c.is_audit)
    return set(connection.scalars(groups))


def founders() -> Select[tuple[str]]:
    """The sample that founded each group without an audit, gold or erased sample."""
    place = func.row_number().over(
        partition_by=samples.c.group_id, order_by=(samples.c.added_at, samples.c.sample_id)
    )
    ranked = (
        select(samples.c.sample_id, place.label("place"))
        .where(
            samples.c.group_id.not_in(
                select(sample_states.c.group_id).where(sample_states.c.is_audit)
            ),
            samples.c.group_id.not_in(
                select(samples.c.group_id).join(gold, gold.c.sample_id == samples.c.sample_id)
            ),
            samples.c.group_id.not_in(erased_groups()),  # the founder may be the erased one
        )
        .subquery()
    )
    return select(ranked.c.sample_id).where(ranked.c.place == 1).order_by(ranked.c.sample_id)


def _store_key(connection: Connection, key: bytes) -> None:
    row = {"number": 1, "key": key.hex(), "made_at": now()}
    journal.insert(connection, audit_key, [row])


def _is_drawn(connection: Connection, policy: AuditPolicy) -> bool:
    share = watermark_of(connection, DRAWN)
    return share is not None and float(share) == policy.share


def _number_former_rows(connection: Connection, policy: AuditPolicy) -> None:
    """Let rows drawn before there were numbers join the standing audit, those whose number is low.

    They decided verdicts before, so they never report.
    """
    key = make_key(connection)
    former = connection.scalars(select(audit.c.sample_id).where(audit.c.number.is_(None))).all()
    numbers = {name: audit_number(key, name) for name in sorted(former)}
    same = {"inclusion_probability": policy.share, "report_share": 0.0}
    rows = [
        {"sample_id": name, "number": number, "part": part_of(key, name, 0.0).value, **same}
        for name, number in numbers.items()
        if number < policy.share
    ]
    journal.update_rows(connection, audit, rows)
