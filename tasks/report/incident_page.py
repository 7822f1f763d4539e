"""An incident as a page: from the first signal to recovery, with decisions, people and images."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from models.watching.decisions import DecisionRecord
from models.watching.incidents import Event, Incident
from tasks.report.artifacts import escape_markdown

DECISIONS_SHOWN = 50  # the last ones; the database has them all
WORDS = {
    "opened": "the incident was opened",
    "step": "the ladder",
    "round": "a round asks about it",
    "release": "another model is in service",
    "abort": "a challenger was withdrawn",
    "accepted": "accepted as known",
    "closed": "the incident ended",
}


def incident_page(
    incident: Incident, decisions: Sequence[DecisionRecord], pictures: Sequence[tuple[str, str]]
) -> str:
    """The page in Markdown; `pictures` are prediction ids and the addresses of their images."""
    lines = [
        f"# {incident.incident_id}: {escape_markdown(incident.kind or 'of no known kind yet')}",
        "",
        f"* {_span(incident)}",
        f"* model {escape_markdown(incident.model)} was in service when it was opened",
        f"* it stands at: {incident.step}",
        "",
        "## What happened",
        "",
        "| at | what | who | detail |",
        "|---|---|---|---|",
        *(_event_row(one) for one in incident.events),
        "",
        "## Decisions",
        "",
        *_decision_lines(decisions),
    ]
    if pictures:
        lines += ["", "## Images that moved most", ""]
        lines += [f"![{escape_markdown(name)}]({address})" for name, address in pictures]
    return "\n".join(lines) + "\n"


def _span(incident: Incident) -> str:
    if incident.closed_at is None:
        return f"open since {incident.opened_at[:16]} UTC"
    first, last = map(datetime.fromisoformat, (incident.opened_at, incident.closed_at))
    hours = (last - first).total_seconds() / 3600
    return f"{incident.opened_at[:16]} to {incident.closed_at[:16]} UTC, {hours:.1f} hours"


def _event_row(event: Event) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in event.detail.items() if value)
    cells = (event.at[:16], WORDS.get(event.what, event.what), event.who, detail)
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _decision_lines(decisions: Sequence[DecisionRecord]) -> Iterator[str]:
    left_out = len(decisions) - DECISIONS_SHOWN
    if left_out > 0:
        yield f"* {left_out} earlier ones"
    for one in decisions[-DECISIONS_SHOWN:]:
        answered = f" (answered by {one.answered_by})" if one.answered_by else ""
        text = f"{one.decided_at[:16]} {one.step}: {one.reason}{answered}"
        yield f"* {escape_markdown(text)}"
