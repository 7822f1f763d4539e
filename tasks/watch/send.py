"""Alerts on their way to the channels of HONE_ALERTS: raised, sent, and the outcome recorded."""

from collections.abc import Mapping, Sequence

from core.database import now, writing
from core.errors import HoneError
from core.locks import LockBusy, Token, only_writer
from core.text import counted
from models.watching import alerts
from models.watching.alert_text import body_of, title_of
from models.watching.alerts import Alert, DueMessage
from models.watching.channels import Channel, Message, deliver
from settings import Settings
from tasks.context import Context, alert_channels
from tasks.watch.pictures import exemplar_strip

WAIT = 5.0  # seconds for another process that sends: it takes along what is due


def send_due(ctx: Context) -> list[str]:
    """Send what is due, and return what came of each message as a sentence.

    Twice: when a channel took its message, others that failed earlier are tried at once.
    """
    channels = {channel.name: channel for channel in alert_channels(ctx.settings)}
    if not channels:
        return []
    sentences: list[str] = []
    try:
        with only_writer(ctx.engine, "alerts", patience=WAIT) as token:
            for _ in range(2):
                sentences += _send_round(ctx, token, channels)
    except LockBusy:
        return ["another process sends the alerts"]
    return sentences


def _send_round(ctx: Context, token: Token, channels: Mapping[str, Channel]) -> list[str]:
    due = alerts.due_messages(ctx.engine, token, list(channels))
    errors = deliver([(channels[one.channel], _message(ctx, one)) for one in due])
    if due:
        made = {one.message_id: error for one, error in zip(due, errors, strict=True)}
        alerts.record_attempts(ctx.engine, token, made)
    return [_sentence(one, error) for one, error in zip(due, errors, strict=True)]


def record_alert(ctx: Context, alert: Alert) -> str | None:
    """Raise an alert outside of any other transaction; None if it is raised already."""
    with writing(ctx.engine) as connection:
        return alerts.raise_alert(connection, alert)


def record_recovery(ctx: Context, about: str, *, title: str, body: str) -> str | None:
    """Close what is open of a thread; None if nothing is."""
    with ctx.engine.connect() as connection:
        if not alerts.is_open(connection, about):
            return None  # the usual case, without a lock
    with writing(ctx.engine) as connection:
        return alerts.close_alert(connection, about, title=title, body=body)


def send_unrecorded(settings: Settings, title: str, body: str) -> list[tuple[str, str | None]]:
    """Send to every channel now, past database and digest; by channel why it failed, or None."""
    channels = alert_channels(settings)
    message = Message(f"message-{now()}".replace(":", "-"), title, body)
    errors = deliver([(channel, message) for channel in channels])
    return [(channel.name, error) for channel, error in zip(channels, errors, strict=True)]


def send_test(ctx: Context) -> list[tuple[str, str | None]]:
    """Send every channel a test message; by channel why it failed, or None."""
    outcomes = send_unrecorded(
        ctx.settings,
        f"{ctx.workspace.title}: a test message",
        "Alerts of this workspace arrive here. Nothing has happened.",
    )
    if not outcomes:
        raise HoneError(
            "HONE_ALERTS names no channel; set it to addresses of Apprise with spaces between "
            "them, or to file:///FOLDER"
        )
    return outcomes


def _message(ctx: Context, due: DueMessage) -> Message:
    shown: Sequence[str] = next((one.exemplars for one in due.alerts[::-1] if one.exemplars), ())
    return Message(
        due.message_id,
        title_of(due.alerts, ctx.workspace.title),
        body_of(due.alerts, due.message_id),
        exemplar_strip(ctx, shown),
    )


def _sentence(due: DueMessage, error: str | None) -> str:
    what = f"{due.message_id} with {counted(len(due.alerts), 'alert')}"
    if error is None:
        return f"{due.channel} took {what}"
    return f"{due.channel} did not take {what}: {error}; a later run tries again"
