"""Alerts: what somebody should hear of, and the messages that took them to the channels.

An alert is raised in the transaction of what it is about. It belongs to a thread (`about`): an
incident, the workspace, a run. The thread is open until it recovers; a recovery is an alert, too.
Each message to a channel is recorded before it is sent, so that after a kill it is sent again under
the same id. An alert that no message took yet goes with the channel's next one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    func,
    select,
    text,
)

from core import journal
from core.database import Json, metadata, now, writing
from core.locks import Token, fence
from core.text import printable

QUIET = timedelta(hours=1)  # between two messages of a channel: what comes between is summed up
RECENT = timedelta(days=1)  # what a new channel is sent beside what is open
FIRST_RETRY, LAST_RETRY = timedelta(minutes=1), timedelta(hours=1)
TITLE_LENGTH, BODY_LENGTH = 200, 4_000
MOST_ALERTS = 200  # in one message

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),  # order of raising
    Column("about", Text, nullable=False),  # the thread: an incident, "workspace", a run
    Column("kind", Text, nullable=False),  # "drift", "halt", "damage", ..., "recovery"
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("command", Text),  # the command to act by
    Column("exemplars", Json, nullable=False),  # ids of predictions whose images are shown
    Column("raised_at", Text, nullable=False),
    Column("closed_at", Text),  # when its thread recovered; a single event is closed at once
    info=journal.COVERED,
)
Index(
    "ix_alerts_open",
    alerts.c.about,
    sqlite_where=text("closed_at IS NULL"),
    postgresql_where=text("closed_at IS NULL"),
)
Index("ix_alerts_about", alerts.c.about, alerts.c.seq)

alert_messages = Table(
    "alert_messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    Column("channel", Text, nullable=False),  # its name, which shows no secret
    Column("alerts", Json, nullable=False),  # the alerts that it sums up
    Column("up_to", Integer, nullable=False),  # seq of the newest of them
    Column("made_at", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tried_at", Text),  # when it was last tried
    Column("error", Text),  # why the last attempt failed
    Column("delivered_at", Text),
    info=journal.COVERED,
)
Index("uq_alert_messages_up_to", alert_messages.c.channel, alert_messages.c.up_to, unique=True)
Index(
    "uq_alert_messages_unsent",
    alert_messages.c.channel,
    unique=True,
    sqlite_where=text("delivered_at IS NULL"),
    postgresql_where=text("delivered_at IS NULL"),
)
_UNSENT = alert_messages.c.delivered_at.is_(None)


class Kind(StrEnum):
    """What an alert is about."""

    DRIFT = "drift"
    HALT = "halt"
    INCIDENT = "incident"
    DAMAGE = "damage"  # of the workspace
    STUCK = "stuck run"
    RELEASE = "failed release"
    ABORT = "aborted trial"
    RECOVERY = "recovery"


@dataclass(frozen=True)
class Alert:
    """What is raised. The same key, while the thread is open, is the same alert."""

    about: str
    kind: Kind
    key: str
    title: str
    body: str
    command: str | None = None
    exemplars: tuple[str, ...] = ()
    is_event: bool = False  # it happened, and nothing will recover from it


@dataclass(frozen=True)
class RaisedAlert:
    """An alert as it was recorded."""

    alert_id: str
    seq: int
    about: str
    kind: Kind
    title: str
    body: str
    command: str | None
    exemplars: tuple[str, ...]
    raised_at: str
    closed_at: str | None


@dataclass(frozen=True)
class DueMessage:
    """A message that its channel is to be sent now, with its alerts, oldest first."""

    message_id: str
    channel: str
    attempts: int  # before this one
    alerts: tuple[RaisedAlert, ...]


@dataclass(frozen=True)
class FailingChannel:
    """A channel that did not take its message."""

    name: str
    error: str
    attempts: int
    since: str  # when the message was made
    next_at: str  # no attempt before


@dataclass(frozen=True)
class AlertOverview:
    """What `hone status` shows of alerts."""

    open: int = 0
    failing: tuple[FailingChannel, ...] = ()

    def of(self, channels: Sequence[str]) -> "AlertOverview":
        """The same, of these channels only: others are in HONE_ALERTS no more."""
        mine = tuple(one for one in self.failing if one.name in channels)
        return replace(self, failing=mine)


def raise_alert(connection: Connection, alert: Alert) -> str | None:
    """Record an alert, in the caller's transaction; return its id, None if it is raised already."""
    journal.lock(connection)  # or two that are raised at once get one number
    recoveries = connection.scalar(
        select(func.count())
        .select_from(alerts)
        .where(alerts.c.about == alert.about, alerts.c.kind == Kind.RECOVERY)
    )
    name = f"{alert.about}\n{recoveries}\n{alert.kind}\n{alert.key}"
    alert_id = f"alert-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    known = select(alerts.c.alert_id).where(alerts.c.alert_id == alert_id)
    if connection.execute(known).first() is not None:
        return None
    at = now()
    row = {
        "alert_id": alert_id,
        "seq": (connection.scalar(select(func.max(alerts.c.seq))) or 0) + 1,
        "about": alert.about,
        "kind": str(alert.kind),
        "title": printable(" ".join(alert.title.split()))[:TITLE_LENGTH],
        "body": printable(alert.body)[:BODY_LENGTH],
        "command": alert.command,
        "exemplars": list(alert.exemplars),
        "raised_at": at,
        "closed_at": at if alert.is_event or alert.kind == Kind.RECOVERY else None,
    }
    journal.insert(connection, alerts, [row])
    return alert_id


def close_alert(connection: Connection, about: str, *, title: str, body: str) -> str | None:
    """Close what is open of a thread and raise the recovery; None if nothing is open."""
    open_ = alerts.c.about == about, alerts.c.closed_at.is_(None)
    if not is_open(connection, about) or not journal.update(
        connection, alerts, *open_, closed_at=now()
    ):
        return None
    return raise_alert(connection, Alert(about, Kind.RECOVERY, "", title, body))


def is_open(connection: Connection, about: str) -> bool:
    """Whether anything of a thread has not recovered."""
    open_ = alerts.c.about == about, alerts.c.closed_at.is_(None)
    return connection.execute(select(alerts.c.seq).where(*open_).limit(1)).first() is not None


def due_messages(engine: Engine, token: Token, channels: Sequence[str]) -> list[DueMessage]:
    """Make the messages that are due, and return those that are to be tried now.

    A channel has one message at a time: one that it did not take comes first, after a pause that
    doubles from a minute to an hour, or as soon as another channel took a message since: then the
    network is back. After a message that it took, a channel has an hour of quiet; what is raised
    meanwhile is in the next one; a halt does not wait. A new channel is sent what is open or of the
    last day.
    """
    at = datetime.fromisoformat(now())
    with writing(engine) as connection:
        fence(connection, token)
        made = [_make_message(connection, channel, at) for channel in channels]
        took = connection.scalar(select(func.max(alert_messages.c.delivered_at)))
        rows = [row for row in made if row is not None and not _is_too_early(row, at, took)]
        return [_due(connection, row) for row in rows]


def record_attempts(engine: Engine, token: Token, errors: Mapping[str, str | None]) -> None:
    """Record what came of messages: by id why the channel did not take it, None where it did."""
    with writing(engine) as connection:
        fence(connection, token)
        rows = connection.execute(
            select(alert_messages).where(alert_messages.c.message_id.in_(list(errors)))
        ).all()
        at = now()
        changed = [
            {
                "message_id": row.message_id,
                "attempts": row.attempts + 1,
                "tried_at": at,
                "error": errors[row.message_id],
                "delivered_at": at if errors[row.message_id] is None else None,
            }
            for row in rows
        ]
        journal.update_rows(connection, alert_messages, changed)


def alert_overview(connection: Connection) -> AlertOverview:
    """How many alerts are open, and the channels that did not take their message."""
    open_ = select(func.count()).select_from(alerts).where(alerts.c.closed_at.is_(None))
    tried = alert_messages.c.error.is_not(None)
    failing = select(alert_messages).where(_UNSENT, tried).order_by(alert_messages.c.channel)
    return AlertOverview(
        open=connection.scalar(open_) or 0,
        failing=tuple(
            FailingChannel(row.channel, row.error, row.attempts, row.made_at, _next_attempt(row))
            for row in connection.execute(failing)
        ),
    )


def newest_alerts(connection: Connection, count: int) -> list[RaisedAlert]:
    """The alerts that were raised last, the newest first."""
    return _alerts(connection, select(alerts).order_by(alerts.c.seq.desc()).limit(count))


def newest_messages(connection: Connection, count: int) -> list[Row[Any]]:
    """The messages that were made last, the newest first."""
    query = select(alert_messages).order_by(
        alert_messages.c.made_at.desc(), alert_messages.c.channel
    )
    return list(connection.execute(query.limit(count)))


def _make_message(connection: Connection, channel: str, at: datetime) -> Row[Any] | None:
    """The channel's message that it did not take yet, a new one, or None: nothing is due."""
    mine = select(alert_messages).where(alert_messages.c.channel == channel)
    unsent = connection.execute(mine.where(_UNSENT)).first()
    if unsent is not None:
        return unsent
    last = connection.execute(mine.order_by(alert_messages.c.up_to.desc()).limit(1)).first()
    if last is None:
        recent = alerts.c.raised_at > _iso(at - RECENT)
        due = select(alerts).where(alerts.c.closed_at.is_(None) | recent)
    else:
        due = select(alerts).where(alerts.c.seq > last.up_to)
        is_quiet = at - datetime.fromisoformat(last.delivered_at) < QUIET
        urgent = due.where(alerts.c.kind == Kind.HALT).limit(1)
        if is_quiet and connection.execute(urgent).first() is None:
            return None
    rows = _alerts(connection, due.order_by(alerts.c.seq).limit(MOST_ALERTS))
    if not rows:
        return None
    names = [row.alert_id for row in rows]
    digest = hashlib.sha256("\n".join([channel, *names]).encode()).hexdigest()
    message = {
        "message_id": f"message-{digest[:16]}", "channel": channel, "alerts": names,
        "up_to": rows[-1].seq, "made_at": _iso(at), "attempts": 0, "tried_at": None,
        "error": None, "delivered_at": None,
    }  # fmt: skip
    journal.insert(connection, alert_messages, [message])
    return connection.execute(mine.where(_UNSENT)).one()


def _is_too_early(message: Row[Any], at: datetime, took: str | None) -> bool:
    """Whether a message is not tried again yet; `took` is when any channel last took one."""
    if not message.tried_at or (took is not None and took > message.tried_at):
        return False
    return at < datetime.fromisoformat(_next_attempt(message))


def _next_attempt(message: Row[Any]) -> str:
    """When a message that was tried is due again."""
    pause = min(FIRST_RETRY * 2 ** min(message.attempts - 1, 20), LAST_RETRY)
    return _iso(datetime.fromisoformat(message.tried_at) + pause)


def _iso(at: datetime) -> str:
    """A time as `now` gives it, so that texts sort in the order of time."""
    return at.isoformat(timespec="microseconds")


def _due(connection: Connection, message: Row[Any]) -> DueMessage:
    mine = select(alerts).where(alerts.c.alert_id.in_(message.alerts)).order_by(alerts.c.seq)
    rows = tuple(_alerts(connection, mine))
    return DueMessage(message.message_id, message.channel, message.attempts, rows)


def _alerts(connection: Connection, query: Select[Any]) -> list[RaisedAlert]:
    return [*map(_raised, connection.execute(query))]


def _raised(row: Row[Any]) -> RaisedAlert:
    values = dict(row._mapping)
    return RaisedAlert(
        **values | {"kind": Kind(values["kind"]), "exemplars": tuple(values["exemplars"])}
    )
