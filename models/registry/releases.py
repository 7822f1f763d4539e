"""What is released: the champion, and beside it a challenger in shadow or canary, or a front model.

The newest row of `releases` is the release pointer. Its number is one more than the row it
replaces, so of two changes made from the same state the database lets one through. A row holds the
whole state: what a change leaves alone is copied from the row before.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    Row,
    Table,
    Text,
    select,
)
from sqlalchemy.exc import IntegrityError

from core import journal
from core.database import Json, metadata, now, writing
from models.registry.versions import AUTOMATIC, PROMOTE, models, verdicts

releases = Table(
    "releases",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("champion", Text, ForeignKey("models.version"), nullable=False),
    Column("verdict_id", Text, ForeignKey("verdicts.verdict_id")),  # on which the champion rests
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("released_at", Text, nullable=False),
    # NULL in rows of before they were known, which were releases without a challenger.
    Column("challenger", Text, ForeignKey("models.version")),
    Column("mode", Text),  # of the challenger
    Column("share", Float),  # percent of the answers, of a canary
    Column("front", Text, ForeignKey("models.version")),  # of a cascade
    Column("front_threshold", Float),
    Column("action", Text),  # what this row changed
    Column("evidence", Json),  # for the change
    info=journal.COVERED,
)


class Superseded(RuntimeError):
    """The release changed since the caller read it: judge against the new champion first."""


class Mode(StrEnum):
    """What a challenger does."""

    OFF = "off"  # there is none
    SHADOW = "shadow"  # it answers beside the champion, and nobody is shown what
    CANARY = "canary"  # it answers a share of the clients


class Action(StrEnum):
    """What a row changed."""

    RELEASE = "release"
    SHADOW = "shadow"
    CANARY = "canary"
    OFF = "off"
    ROLLBACK = "rollback"
    ABORT = "abort"
    CASCADE = "cascade"


PUTS_IN_SERVICE = (Action.RELEASE, Action.ROLLBACK)  # the others leave the champion


@dataclass(frozen=True)
class Release:
    """What is served since one change, who made it and why."""

    number: int
    champion: str
    verdict_id: str | None
    who: str
    why: str
    released_at: str
    challenger: str | None = None
    mode: Mode = Mode.OFF
    share: float = 0.0
    front: str | None = None
    front_threshold: float | None = None
    action: Action = Action.RELEASE
    evidence: Mapping[str, Any] | None = None

    @property
    def by_a_person(self) -> bool:
        """Whether a named person made it, and not a flow."""
        return is_person(self.who)

    @property
    def restored(self) -> int:
        """Of a rollback the number of the release that it restored; 0: none."""
        named = self.evidence.get("to_release") if isinstance(self.evidence, Mapping) else None
        return named if isinstance(named, int) else 0


def is_person(who: str) -> bool:
    """Whether this is the name of a person: flows release as `hone`."""
    return bool(who.strip()) and who.split()[0] != AUTOMATIC


def releasing_verdict(engine: Engine, version: str) -> str | None:
    """The verdict by which `version` was ever released; None when there is none."""
    with engine.connect() as connection:
        made = select(releases.c.verdict_id).where(releases.c.champion == version)
        return connection.scalar(made.where(releases.c.verdict_id.is_not(None)).limit(1))


def current_release(engine: Engine) -> Release | None:
    """What is released now; None before the first release."""
    with engine.connect() as connection:
        return release_of(connection)


def release_of(connection: Connection) -> Release | None:
    """What is released now, as the caller's transaction knows it."""
    row = connection.execute(select(releases).order_by(releases.c.number.desc()).limit(1)).first()
    return from_row(row) if row else None


def release_rows(connection: Connection) -> list[Release]:
    """Every change of what is released, the oldest first."""
    return [from_row(row) for row in connection.execute(select(releases).order_by("number"))]


def tenure_of(connection: Connection) -> Release | None:
    """The row that put the present champion in service; None before the first release."""
    puts = releases.c.action.is_(None) | releases.c.action.in_(map(str, PUTS_IN_SERVICE))
    newest = select(releases).where(puts).order_by(releases.c.number.desc()).limit(1)
    row = connection.execute(newest).first()
    return from_row(row) if row else None


def from_row(row: Row[Any]) -> Release:
    """A row of the table; what is NULL has the default."""
    values = {name: value for name, value in row._mapping.items() if value is not None}
    try:
        known = {"mode": Mode(values.get("mode", "off")), "action": values.get("action", "release")}
        return Release(**{"verdict_id": None, **values, **known, "action": Action(known["action"])})
    except ValueError as error:
        raise ValueError(
            f"release {row.number} cannot be read: {error}; a newer Hone may have made it"
        ) from error


def champion(engine: Engine) -> str | None:
    """The version in service; None before the first release."""
    with engine.connect() as connection:
        return champion_of(connection)


def champion_of(connection: Connection) -> str | None:
    """The version in service, as the caller's transaction knows it."""
    current = release_of(connection)
    return current.champion if current else None


def release(
    engine: Engine,
    *,
    version: str,
    verdict_id: str | None,
    who: str,
    why: str,
    expected: int,
    override: bool = False,
    evidence: Mapping[str, Any] | None = None,
) -> int:
    """Put `version` in service in one transaction; return the number of the release.

    `expected` is the release that the caller read (0 = none): if it has changed, or the verdict was
    reached against another champion, nothing changes and `Superseded` is raised. Without a PROMOTE
    verdict, or after the version was withdrawn, only a named person (`override`) can release.
    The version answers all, alone: challenger and front end. Idempotent; a person who releases the
    champion stands for it, and ends what is beside it.
    """
    with changing(engine, who=who, why=why, expected=expected) as connection:
        current = release_of(connection)
        same = current and (current.champion, current.verdict_id) == (version, verdict_id)
        if current and same and (not is_person(who) or _stands_alone(connection, current)):
            return current.number
        refuse_other_than(expected, current)
        if override:
            _refuse_nameless(who, version, connection)
        else:
            refuse_unjudged(connection, version, verdict_id, current)
            refuse_withdrawn(connection, version)
        row = Release(expected + 1, version, verdict_id, who, why, now(), evidence=evidence)
        return add(connection, row)


def _stands_alone(connection: Connection, current: Release) -> bool:
    """Whether a person put the champion in service and nothing is beside it."""
    tenure = tenure_of(connection)
    beside = current.challenger or current.front
    return not beside and tenure is not None and tenure.by_a_person


def add_next(
    connection: Connection,
    changed: Release,
    action: Action,
    who: str,
    why: str,
    evidence: Mapping[str, Any] | None,
) -> int:
    """Add the state `changed` of the newest row as the row after it; return its number."""
    row = replace(
        changed,
        number=changed.number + 1,
        who=who,
        why=why,
        released_at=now(),
        action=action,
        evidence=evidence,
    )
    return add(connection, row)


def add(connection: Connection, row: Release) -> int:
    """Add a row in the caller's transaction; return its number."""
    texts = {"mode": str(row.mode), "action": str(row.action)}
    journal.insert(connection, releases, [{**asdict(row), **texts}])
    return row.number


@contextmanager
def changing(engine: Engine, *, who: str, why: str, expected: int) -> Iterator[Connection]:
    """A transaction in which a row is added by `who`; of two at once one is `Superseded`."""
    if not who.strip() or not why.strip():
        raise ValueError(f"a release needs who ({who!r}) and why ({why!r}); give both")
    try:
        with writing(engine) as connection:
            yield connection
    except IntegrityError as error:
        raise Superseded(f"release {expected + 1} was made by another at the same time") from error


def refuse_other_than(expected: int, current: Release | None) -> None:
    """`Superseded` unless the release that the caller read is the current one."""
    number = current.number if current else 0
    if number != expected:
        raise Superseded(
            f"release {expected} was expected, {number} is current"
            f"{f' ({current.champion} by {current.who})' if current else ''}; "
            "judge the model against what is in service now"
        )


def refuse_withdrawn(connection: Connection, version: str) -> None:
    """Refuse to a flow what was rolled back, aborted, or ended by a person, and not put up since.

    Only a person's word puts it up again.
    """
    ended = withdrawal(release_rows(connection), version)
    if ended is not None:
        raise ValueError(
            f"{version} was withdrawn by release {ended.number} ({ended.action} by {ended.who}: "
            f"{ended.why}); a named person may put it up again: `hone release {version} --who NAME "
            "--why ...`"
        )


def withdrawal(rows: Sequence[Release], version: str) -> Release | None:
    """The row that withdrew a version last, unless a person put it up again afterwards."""
    ended: Release | None = None
    for before, row in pairwise(rows):
        if row.by_a_person and version in (row.champion, row.challenger):
            ended = None
        rolled_back = row.action == Action.ROLLBACK and version == before.champion != row.champion
        alone = row.challenger is None and row.champion == before.champion
        ends = row.action == Action.ABORT or (alone and row.by_a_person)
        if rolled_back or (ends and version == before.challenger):
            ended = row
    return ended


def _refuse_nameless(who: str, version: str, connection: Connection) -> None:
    if not is_person(who):
        raise ValueError(f"{who!r} is no person: only a named person can release without a verdict")
    if connection.scalar(select(models.c.version).where(models.c.version == version)) is None:
        raise ValueError(f"there is no model {version!r}, so it cannot be released")


def refuse_unjudged(
    connection: Connection, version: str, verdict_id: str | None, current: Release | None
) -> None:
    """Refuse to a flow what has no PROMOTE verdict against the champion."""
    row = connection.execute(select(verdicts).where(verdicts.c.verdict_id == verdict_id)).first()
    if row is None or row.challenger != version or row.outcome != PROMOTE:
        actual = "no verdict" if row is None else f"{row.outcome} of {row.challenger}"
        raise ValueError(
            f"{version} is not released: {verdict_id} is {actual}, a PROMOTE verdict of this "
            "version is needed; a named person may release it with override"
        )
    if row.champion != (current.champion if current else None):
        raise Superseded(
            f"{version} was judged against {row.champion or 'no champion'}, but "
            f"{current.champion if current else 'none'} is in service now; judge it again"
        )
