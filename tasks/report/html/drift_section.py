"""Signals of the traffic: each with its threshold over time, and what was decided on them."""

from collections.abc import Sequence

from core.text import counted
from models.watching.decision_history import PastDecision, PastSignal
from tasks.report.html.charts import (
    Axis,
    Line,
    Point,
    chart,
    dots,
    line,
    moments,
    number_axis,
    short_number,
    time_axis,
)
from tasks.report.html.elements import Html, details, element, table
from tasks.report.html.gather import Facts
from tasks.report.html.words import marked, minute, missing, moment, section

CHARTS = 9
SHOWN = 12


def drift_section(facts: Facts) -> Html:
    """The signals of the last checks over time, the newest in a table, and the decisions."""
    title = "Drift: signals and decisions"
    if not facts.decisions:
        why = f"No check of the traffic in the last {facts.days} days: `hone watch` makes one."
        return section("drift", title, missing(why))
    newest = facts.decisions[0]
    about = f"{newest.action}, {minute(newest.decided_at)} UTC: {newest.reason}"
    checks = f"{counted(len(facts.decisions), 'check')} in the last {facts.days} days."
    return section(
        "drift",
        title,
        element("p", about),
        element("p", checks, class_="muted"),
        element("div", *_charts(facts), class_="charts"),
        _signals(newest.signals),
        _decisions(facts.decisions),
    )


def _charts(facts: Facts) -> list[Html]:
    history = list(reversed(facts.decisions))
    names = [one.name for one in history[-1].signals]
    times = [moment(one.decided_at) for one in history]
    across = time_axis(min(times), max(times))
    marks = [Line(moment(one.released_at), f"release {one.number}") for one in facts.releases]
    return [_chart(name, history, across, marks) for name in names[:CHARTS]]


def _chart(name: str, history: Sequence[PastDecision], across: Axis, marks: list[Line]) -> Html:
    """The value of a signal at each check; checks at which it saw drift are red."""
    measured = [
        (Point(moment(check.decided_at), one.value, one.value, one.value), one)
        for check in history
        for one in check.signals
        if one.name == name and one.value is not None
    ]
    points = [point for point, _ in measured]
    alarms = [point for point, one in measured if one.outcome == "drift"]
    values = [point.value for point in points] or [0.0]
    up = number_axis(min(0.0, *values), max(values))
    last = f"{short_number(values[-1])} now" if measured else "never measured"
    return chart(
        across, up,
        [moments(across, marks), line(across, up, points), dots(across, up, points, "dot"),
         dots(across, up, alarms)],
        title=f"{name}: {last}",
        summary=f"{counted(len(points), 'value')}, {counted(len(alarms), 'alarm')}",
    )  # fmt: skip


def _signals(signals: Sequence[PastSignal]) -> Html:
    lines = [
        (one.name, marked(one.outcome), _number(one.value), f"{one.rows:,}", one.meaning)
        for one in signals[:SHOWN]
    ]
    head = ("signal", "outcome", "value", "rows", "what it means")
    return table(head, lines, caption="Signals of the newest check", figures=["value", "rows"])


def _decisions(decisions: Sequence[PastDecision]) -> Html:
    lines = [
        (minute(one.decided_at), one.action, one.model, one.answered_by or "-", one.reason)
        for one in decisions[:SHOWN]
    ]
    head = ("when (UTC)", "decision", "model", "answered by", "why")
    return details("Decisions", table(head, lines, caption="The newest decisions"))


def _number(value: float | None) -> str:
    return "-" if value is None else short_number(value)
