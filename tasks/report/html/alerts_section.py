"""Who hears of it: the channels with what they took, and the alerts that are open."""

from dataclasses import dataclass

from sqlalchemy import Connection

from models.watching.alerts import (
    AlertOverview,
    RaisedAlert,
    alert_overview,
    newest_alerts,
    newest_messages,
)
from models.watching.channels import channels_of
from settings import Settings
from tasks.report.html.elements import Html, code, details, element, joined, table
from tasks.report.html.words import minute, missing, section

NEWEST = 40  # alerts and messages that are read
SHOWN = 12


@dataclass(frozen=True)
class ChannelState:
    """A channel, and when it last took a message."""

    name: str
    delivered_at: str | None


@dataclass(frozen=True)
class AlertFacts:
    """Channels and alerts; `problem` says why the channels cannot be read."""

    channels: list[ChannelState]
    overview: AlertOverview
    alerts: list[RaisedAlert]
    problem: str = ""


def load_alerts(connection: Connection, settings: Settings) -> AlertFacts:
    """The newest alerts, and the channels of HONE_ALERTS without their secrets."""
    problem, names = "", list[str]()
    try:
        given = settings.alerts.get_secret_value() if settings.alerts else ""
        names = [channel.name for channel in channels_of(given)] if given else []
    except ValueError as error:
        problem = str(error)
    taken: dict[str, str] = {}
    for row in newest_messages(connection, NEWEST):
        if row.delivered_at is not None:
            taken.setdefault(row.channel, row.delivered_at)
    return AlertFacts(
        [ChannelState(name, taken.get(name)) for name in names],
        alert_overview(connection),
        newest_alerts(connection, NEWEST),
        problem,
    )


def alerts_section(facts: AlertFacts) -> Html:
    """Open alerts with the command to act by, and the state of each channel."""
    return section("alerts", "Alerts", _open(facts), _channels(facts), _past(facts))


def _open(facts: AlertFacts) -> Html:
    waiting = [one for one in facts.alerts if one.closed_at is None]
    if not waiting:
        return missing("No alert is open.")
    lines = [
        (minute(one.raised_at), one.title, one.body, code(one.command) if one.command else "-")
        for one in waiting[:SHOWN]
    ]
    head = ("raised (UTC)", "alert", "what", "command")
    return table(head, lines, caption=f"Open alerts: {facts.overview.open:,}")


def _channels(facts: AlertFacts) -> Html:
    if facts.problem:
        return element("p", facts.problem, class_="bad")
    if not facts.channels:
        return missing("Nobody is told: `HONE_ALERTS` names no channel; `hone alerts test` tries.")
    failing = {one.name: one for one in facts.overview.failing}
    lines = []
    for channel in facts.channels:
        taken = minute(channel.delivered_at) if channel.delivered_at else "-"
        if (bad := failing.get(channel.name)) is None:
            lines.append((channel.name, element("span", "works" if taken != "-" else "unused"),
                          taken, "-"))  # fmt: skip
        else:
            why = f"{bad.error}, {bad.attempts} attempts since {minute(bad.since)}"
            lines.append((channel.name, element("span", "fails", class_="bad"), taken, why))
    return table(("channel", "state", "last taken (UTC)", "why"), lines, caption="Channels")


def _past(facts: AlertFacts) -> Html:
    past = [one for one in facts.alerts if one.closed_at is not None]
    if not past:
        return Html()
    lines = [(minute(one.raised_at), str(one.kind), one.title, minute(str(one.closed_at)))
             for one in past[:SHOWN]]  # fmt: skip
    head = ("raised (UTC)", "kind", "alert", "closed")
    return joined([details("Alerts before", table(head, lines, caption="Closed alerts"))])
