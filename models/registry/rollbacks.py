"""The way back: the version that a rollback puts in service again.

A person stands for what that person released or rolled back to, a PROMOTE verdict for what a flow
released; what a flow rolled back to rests on whatever stood for it before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from models.registry.releases import (
    PUTS_IN_SERVICE,
    Action,
    Mode,
    Release,
    add_next,
    changing,
    is_person,
    refuse_other_than,
    release_rows,
    withdrawal,
)


def roll_back(
    engine: Engine,
    *,
    to: str | None = None,
    who: str,
    why: str,
    expected: int,
    evidence: Mapping[str, Any] | None = None,
) -> int:
    """Put an earlier version in service again, alone; return the number of the release.

    Without `to` it is the last one that a person or a verdict stood for (`rollback_target`); with
    it any version that was ever released, on a named person's word.
    """
    if to is not None and not is_person(who):
        raise ValueError(f"{who!r} is no person: only a named person can choose the version")
    with changing(engine, who=who, why=why, expected=expected) as connection:
        rows = release_rows(connection)
        refuse_other_than(expected, rows[-1] if rows else None)
        target = rollback_target(rows) if to is None else chosen_target(rows, to)
        current = rows[-1]
        alone = replace(
            current,
            champion=target.champion,
            verdict_id=target.verdict_id,
            challenger=None,
            mode=Mode.OFF,
            share=0.0,
            front=None,
            front_threshold=None,
        )
        about = {**(evidence or {}), "from": current.champion, "to_release": target.number}
        return add_next(connection, alone, Action.ROLLBACK, who, why, about)


def rollback_target(rows: Sequence[Release]) -> Release:
    """The release that a rollback without a chosen version restores.

    The newest one before the present champion's that a person or a verdict stood for and that was
    not withdrawn since. It is never one from before a person's decision: if a person put the
    present champion in service, or the way back leads past such a release, that is an error.
    """
    tenures = [row for row in rows if row.action in PUTS_IN_SERVICE]
    if not tenures:
        raise ValueError("nothing was released yet: there is nothing to roll back")
    present = _origin(rows, tenures[-1])
    if present.by_a_person:
        raise _refusal(present, "is in service by a person's decision")
    earlier = [row for row in tenures if row.number < present.number]
    for row in reversed(earlier):
        if row.action == Action.ROLLBACK and not row.by_a_person:
            continue  # it rests on an earlier row, which follows
        withdrawn = withdrawal(rows, row.champion) is not None
        if row.champion != present.champion and not withdrawn:
            return row
        if row.by_a_person:
            raise _refusal(row, "was released by a person's decision")
    raise ValueError(
        f"there is no release before {present.champion} to go back to; "
        "`hone halt` stops the answers"
    )


def chosen_target(rows: Sequence[Release], version: str) -> Release:
    """The newest release of a version that was ever in service, and is not now."""
    if rows and rows[-1].champion == version:
        raise ValueError(f"{version} is in service: there is nothing to roll back")
    released = [row for row in rows if row.champion == version and row.action in PUTS_IN_SERVICE]
    if not released:
        known = ", ".join(sorted({row.champion for row in rows})) or "none yet"
        raise ValueError(
            f"{version} was never released; released were: {known}. `hone release` puts a version "
            "in service that never was"
        )
    return released[-1]


def _origin(rows: Sequence[Release], row: Release) -> Release:
    """The release on which a row rests: of a flow's rollback, the one that it restored."""
    by_number = {one.number: one for one in rows}
    while row.action == Action.ROLLBACK and not row.by_a_person:
        restored = by_number.get(row.restored)
        if restored is None or restored.number >= row.number:
            raise ValueError(f"release {row.number} does not name the one that it restored")
        row = restored
    return row


def _refusal(row: Release, cause: str) -> ValueError:
    return ValueError(
        f"{row.champion} {cause} (release {row.number} by {row.who}: {row.why}); going back "
        "past it needs a person's word for a version: `hone rollback --to VERSION --who NAME "
        "--why ...`"
    )
