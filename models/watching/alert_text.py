"""The words of a message: one alert as it is, several as a digest with one part a thread."""

from collections.abc import Sequence

from core.text import counted
from models.watching.alerts import Kind, RaisedAlert

THREADS = 20  # in one message; the newest


def title_of(alerts: Sequence[RaisedAlert], workspace: str) -> str:
    """The subject line: the workspace, and the newest alert."""
    newest = alerts[-1]
    if len(alerts) == 1:
        return f"{workspace}: {newest.title}"
    return f"{workspace}: {counted(len(alerts), 'alert')}, the newest: {newest.title}"


def body_of(alerts: Sequence[RaisedAlert], message_id: str) -> str:
    """What happened, the command to act by, and the ids; of each thread its newest alert."""
    threads: dict[str, list[RaisedAlert]] = {}
    for alert in alerts:
        threads.setdefault(alert.about, []).append(alert)
    newest_first = sorted(threads.values(), key=lambda thread: thread[-1].seq, reverse=True)
    parts = [_part(thread, is_only=len(alerts) == 1) for thread in newest_first[:THREADS]]
    left_out = len(newest_first) - THREADS
    if left_out > 0:
        parts.append(f"and {left_out} more: `hone alerts` lists them")
    ids = ", ".join(alert.alert_id for alert in alerts[-THREADS:])
    return "\n\n".join([*parts, f"({message_id}: {ids})"])


def _part(thread: Sequence[RaisedAlert], *, is_only: bool) -> str:
    newest = thread[-1]
    lines = [] if is_only else [_heading(thread)]
    lines.append(newest.body)
    if newest.command:
        lines.append(f"To act: {newest.command}")
    return "\n".join(line for line in lines if line)


def _heading(thread: Sequence[RaisedAlert]) -> str:
    newest = thread[-1]
    when = newest.raised_at[:16].replace("T", " ")
    began = thread[0].raised_at[:16].replace("T", " ")
    if newest.kind == Kind.RECOVERY and len(thread) > 1:
        return f"* {newest.title} ({when} UTC; it began {began}: {thread[0].title})"
    times = f", {len(thread)} alerts since {began}" if len(thread) > 1 else ""
    return f"* {newest.title} ({when} UTC{times})"
