"""The alerts that were raised last and what became of the messages, as tables for the terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console

from core.database import now
from models.watching.alerts import newest_alerts, newest_messages
from tasks.context import Context
from tasks.report.console import NOTHING, print_line, print_table, relative_time

WORDS = frozenset({"alert", "about", "kind", "to act", "raised", "channel", "outcome"})


def alert_lists(ctx: Context, limit: int) -> dict[str, list[dict[str, Any]]]:
    """The newest alerts, and the newest messages about them."""
    with ctx.engine.connect() as connection:
        return {
            "alerts": [asdict(alert) for alert in newest_alerts(connection, limit)],
            "messages": [dict(row._mapping) for row in newest_messages(connection, limit)],
        }


def show_alerts(
    lists: dict[str, list[dict[str, Any]]], channels: Sequence[str], console: Console | None = None
) -> None:
    """Print the alerts, the messages, and the channels that there are."""
    screen = console or Console(highlight=False)
    at = datetime.fromisoformat(now())
    raised = [
        {
            "alert": alert["title"],
            "about": alert["about"],
            "kind": str(alert["kind"]),
            "raised": relative_time(alert["raised_at"], at),
            "open": "no" if alert["closed_at"] else "open",
            "to act": alert["command"] or NOTHING,
        }
        for alert in lists["alerts"]
    ]
    print_table(screen, "Alerts", raised, words=WORDS, limit=len(raised))
    sent = [
        {
            "channel": row["channel"],
            "alerts": str(len(row["alerts"])),
            "attempts": str(row["attempts"]),
            "outcome": _outcome(row, at),
        }
        for row in lists["messages"]
    ]
    print_table(screen, "Messages", sent, words=WORDS, limit=len(sent))
    if not raised:
        print_line(screen, "no alert was raised")
    named = ", ".join(channels)
    print_line(screen, f"channels: {named}" if named else "HONE_ALERTS names no channel")


def _outcome(row: dict[str, Any], at: datetime) -> str:
    if row["delivered_at"]:
        return f"delivered {relative_time(row['delivered_at'], at)}"
    return row["error"] or "not sent yet"
