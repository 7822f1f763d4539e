"""Decisions and incidents for the terminal: what was decided, why and why not."""

from collections.abc import Iterator, Sequence

from rich.console import Console

from models.watching.decisions import DecisionRecord
from models.watching.incidents import Incident
from models.watching.signals import Signal
from tasks.report.console import Row, print_fields, print_line, print_table

STEPS_THAT_ACT = ("label", "retrain", "alert")
WORDS = frozenset({"signal", "outcome", "meaning", "incident", "kind", "step", "opened", "closed"})


def show_decisions(decisions: Sequence[DecisionRecord], console: Console | None = None) -> None:
    """Print decisions, the newest first, each with its signals."""
    screen = console or Console(highlight=False)
    if not decisions:
        print_line(screen, "nothing was decided yet: `hone watch` checks the served traffic")
    for one in decisions:
        print_fields(screen, f"{one.decided_at[:19]} {one.decision_id}", list(_lines(one)))
        print_table(screen, "", [_signal_row(each) for each in one.signals], words=WORDS)


def show_incidents(incidents: Sequence[Incident], console: Console | None = None) -> None:
    """Print one line for each incident, the newest first."""
    screen = console or Console(highlight=False)
    if not incidents:
        print_line(screen, "there was no incident")
    rows: list[Row] = [
        {
            "incident": one.incident_id,
            "kind": one.kind or "-",
            "step": one.step,
            "opened": one.opened_at[:16],
            "closed": one.closed_at[:16] if one.closed_at else "open",
        }
        for one in incidents
    ]
    print_table(screen, "", rows, words=WORDS, limit=len(rows))


def _lines(one: DecisionRecord) -> Iterator[tuple[str, str]]:
    yield "decided", f"{one.step or one.action}: {one.reason}"
    yield "model", one.model
    rows = one.last_seq - one.first_seq + 1
    yield (
        "traffic",
        f"predictions {one.first_seq} to {one.last_seq}" if rows else "none that is new",
    )
    if one.kind:
        yield "kind", one.kind
    if one.threshold:
        numbers = f"{one.evidence or 0:.1f}, an alarm from {one.threshold:.1f} on"
        yield "evidence", f"{numbers}; {one.spent or 0:.2f} false alarms a quarter at most"
    for sentence in one.why or ():
        yield "why", sentence
    for sentence in one.why_not or ():
        yield "why not", sentence
    for name, value in (one.estimate or {}).items():
        if value is not None:
            text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield name.replace("_", " "), text
    if one.cost:
        yield "cost", ", ".join(f"{name} {value}" for name, value in one.cost.items())
    for name, value in (
        ("incident", one.incident_id),
        ("answered by", one.answered_by),
        ("accepted", f"by {one.accepted_by}: {one.accepted_why}" if one.accepted_by else None),
    ):
        if value:
            yield name, value
    if one.exemplars:
        yield "images", ", ".join(one.exemplars)
    yield "would change", what_would_change(one)


def what_would_change(one: DecisionRecord) -> str:
    """What would make the next decision another one."""
    if one.action == "label-served" and not one.answered_by and not one.accepted_by:
        return (
            "a round that asks about it (`hone label`), or a person who takes it for known "
            f"(`hone watch --accept {one.decision_id} --who NAME --why REASON`)"
        )
    if one.action == "cannot-tell":
        return "what is missing above"
    if one.step == "halt":
        return "a better model that is released, or `hone resume --who NAME --why REASON`"
    if one.threshold and one.evidence is not None and one.signals:
        missing = one.threshold - one.evidence
        if missing > 0:
            return f'{missing:.1f} more evidence, or a rule under "why not" that becomes met'
    unmet = [sentence for sentence in one.why_not or () if sentence.startswith(STEPS_THAT_ACT)]
    return f"one of these rules being met: {'; '.join(unmet)}" if unmet else "new traffic"


def _signal_row(one: Signal) -> Row:
    return {
        "signal": one.name,
        "outcome": str(one.outcome),
        "evidence": f"{one.evidence:+.1f}",
        "accumulated": f"{one.accumulated:.1f}",
        "rows": f"{one.rows:,}",
        "meaning": one.meaning,
    }
