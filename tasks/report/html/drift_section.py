"""Signals of the traffic over time, what was decided on them, and the images that moved most."""

from collections.abc import Mapping, Sequence

from core.text import counted
from models.watching.decision_history import PastCheck, PastSignal
from models.watching.decisions import DecisionRecord
from models.watching.incidents import Incident
from models.watching.signals import Signal
from tasks.report.decision_view import what_would_change
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
    threshold,
    time_axis,
)
from tasks.report.html.elements import Html, bullets, details, element, joined, sentence, table
from tasks.report.html.exemplars import exemplar_pictures
from tasks.report.html.gather import Facts
from tasks.report.html.words import fact, fact_list, marked, minute, missing, moment, section

CHARTS = 8  # signals that are drawn, the strongest first
SHOWN = 14  # signals, and events of an incident, in a table
QUIET = 0.5  # of the alarm's threshold: signals that never had so much evidence are folded away
LOUD = frozenset({"label", "retrain", "alert", "halt", "label-served"})  # steps that ask somebody
ESTIMATED = "estimated_accuracy_"  # begins the names of the figures without outcomes
LISTS = ("kind_evidence", "remedies")  # sentences of an estimate
CAUSES = 8  # sentences of why, and of why not


def drift_section(facts: Facts) -> Html:
    """The newest decision with what to do, the signals over time, incidents and images."""
    title = "Drift: signals and decisions"
    if not facts.decisions:
        why = "The traffic was never checked: `hone watch` does, and `hone why` shows what it says."
        return section("drift", title, missing(why))
    newest = facts.decisions[0]
    return section(
        "drift",
        title,
        _decision(newest, facts.alarms_per_quarter),
        _charts(facts),
        _signals(newest.signals),
        exemplar_pictures(facts.exemplars, "Images that moved most"),
        _incidents(facts.incidents),
        _decisions(facts.decisions),
    )


def _decision(newest: DecisionRecord, budget: float) -> Html:
    step = newest.step or newest.action
    evidence = "-"
    if newest.evidence is not None and newest.threshold is not None:
        evidence = f"{newest.evidence:.1f}"
    parts = [
        fact("Last decision", element("b", step, class_="bad" if step in LOUD else None),
             f"{minute(newest.decided_at)} UTC, {newest.model}"),
        fact("Kind of drift", newest.kind or "-"),
        fact("Evidence, all signals", evidence,
             "" if newest.threshold is None else f"an alarm from {newest.threshold:.1f} on"),
        fact("Alarm budget spent", "-" if newest.spent is None else f"{newest.spent:.2f}",
             f"false alarms of {budget:g} in 90 days, at most"),
    ]  # fmt: skip
    why_not = list(newest.why_not or ())[:CAUSES]
    to_do = joined([element("b", "What would change it: "), sentence(what_would_change(newest))])
    return joined(
        [
            fact_list(*parts),
            element("p", newest.reason),
            element("p", to_do, class_="next"),
            _listed("Why", list(newest.why or ())[:CAUSES]),
            *_diagnosis(newest.estimate or {}),
            details("Why not more", bullets(why_not)) if why_not else "",
        ]
    )


def _diagnosis(estimate: Mapping[str, object]) -> list[Html]:
    """What kind of drift it is by which evidence, what helps, and how right the model is now."""
    bounds = [estimate.get(f"{ESTIMATED}{name}") for name in ("value", "low", "high")]
    figures = [f"{name.replace('_', ' ')}: {_words(value)}" for name, value in estimate.items()
               if value is not None and name not in LISTS
               and not name.startswith(ESTIMATED)]  # fmt: skip
    if all(isinstance(one, float | int) for one in bounds):
        value, low, high = bounds
        figures.insert(0, f"estimated accuracy {value:.3f} [{low:.3f}, {high:.3f}]")
    evidence, remedies = (_sentences(estimate.get(name)) for name in LISTS)
    return [
        _listed("By what the kind is told", evidence),
        _listed("What helps", remedies),
        _listed("Accuracy now", figures[:CAUSES]),
    ]


def _sentences(value: object) -> list[str]:
    return [str(one) for one in value[:CAUSES]] if isinstance(value, list) else []


def _listed(heading: str, sentences: Sequence[str]) -> Html:
    return joined([element("h3", heading), bullets(sentences)]) if sentences else Html()


def _charts(facts: Facts) -> Html:
    checks = facts.checks
    if not checks:
        return missing(f"No check in the last {facts.days} days: `hone watch` makes one.")
    times = [moment(one.decided_at) for one in checks]
    across = time_axis(min(times), max(times))
    marks = [Line(moment(one.released_at), one.mark()) for one in facts.releases]
    peaks = _peaks(checks)
    limit = checks[-1].threshold or 0.0
    most = max([limit, *peaks.values()])
    loud = [name for name in peaks if peaks[name] >= QUIET * limit]
    drawn = {name: _chart(name, checks, across, marks, most) for name in [*peaks][:CHARTS]}
    quiet = [drawing for name, drawing in drawn.items() if name not in loud]
    words = f"{counted(len(checks), 'check')} in the last {facts.days} days; red dots are alarms, "
    words += "upright lines releases. Evidence is a natural logarithm; below 0 there is none."
    shown = [_together(checks, across, marks), *(drawn[name] for name in drawn if name in loud)]
    return joined(
        [
            element("p", words, class_="muted"),
            element("div", *shown, class_="charts"),
            details(
                f"Signals that stayed quiet ({len(quiet)})",
                element("div", *quiet, class_="charts"),
            )
            if quiet
            else "",
        ]
    )


def _peaks(checks: Sequence[PastCheck]) -> dict[str, float]:
    """The most evidence that each signal of the newest check had, the highest first."""
    peaks = {one.name: 0.0 for one in checks[-1].signals}
    for check in checks:
        for one in check.signals:
            if one.name in peaks:
                peaks[one.name] = max(peaks[one.name], one.accumulated or 0.0)
    return dict(sorted(peaks.items(), key=lambda peak: -peak[1]))


def _together(checks: Sequence[PastCheck], across: Axis, marks: list[Line]) -> Html:
    points = [_at(one, one.evidence) for one in checks if one.evidence is not None]
    if not points:
        return Html()
    alarms = [_at(one, one.evidence) for one in checks
              if one.evidence is not None and one.step in LOUD]  # fmt: skip
    bounds = [one.threshold for one in checks if one.threshold is not None]
    values = [one.value for one in points]
    up = number_axis(0.0, max([*values, *bounds[-1:]]))
    limit = [threshold(up, Line(bounds[-1], "alarm"))] if bounds else []
    return chart(
        across, up,
        [moments(across, marks), line(across, up, points), *_single(across, up, points), *limit,
         dots(across, up, alarms)],
        title=f"Evidence of all signals together: {values[-1]:.1f} now",
        summary=f"{counted(len(points), 'value')}, {counted(len(alarms), 'step')} that asked "
        "somebody",
    )  # fmt: skip


def _chart(
    name: str, checks: Sequence[PastCheck], across: Axis, marks: list[Line], most: float
) -> Html:
    """The evidence of a signal at each check, on one scale up to `most`; or else its value."""
    measured = [(check, one) for check in checks for one in check.signals if one.name == name]
    gathers = any(one.accumulated for _, one in measured)
    drawn = [(_at(check, _figure(one, gathers)), one) for check, one in measured
             if _figure(one, gathers) is not None]  # fmt: skip
    points = [point for point, _ in drawn]
    alarms = [point for point, one in drawn if one.outcome == "drift"]
    values = [point.value for point in points] or [0.0]
    up = number_axis(0.0, most) if gathers else number_axis(min(0.0, *values), max(values))
    what = "evidence" if gathers else "value"
    last = f"{what} {short_number(values[-1])}" if points else "never measured"
    return chart(
        across, up,
        [moments(across, marks), line(across, up, points), *_single(across, up, points),
         dots(across, up, alarms)],
        title=f"{name}: {last}",
        summary=f"{counted(len(points), 'value')}, {counted(len(alarms), 'alarm')}",
    )  # fmt: skip


def _figure(one: PastSignal, gathers: bool) -> float | None:
    return one.accumulated if gathers else one.value


def _at(check: PastCheck, value: float | None) -> Point:
    at = moment(check.decided_at)
    return Point(at, value or 0.0, value or 0.0, value or 0.0)


def _single(across: Axis, up: Axis, points: Sequence[Point]) -> list[Html]:
    """Dots, where there are too few points for a line to be seen."""
    return [dots(across, up, points, "dot")] if len(points) < 30 else []


def _signals(signals: Sequence[Signal]) -> Html:
    ordered = sorted(signals, key=lambda one: -one.accumulated)
    lines = [
        (one.name, str(one.family), marked(str(one.outcome)), _number(one.value),
         _number(one.threshold), f"{one.accumulated:.1f}", f"{one.rows:,}", f"{one.groups:,}",
         one.meaning)
        for one in ordered[:SHOWN]
    ]  # fmt: skip
    head = ("signal", "about", "outcome", "value", "threshold", "evidence", "rows", "groups",
            "what it means")  # fmt: skip
    return table(head, lines, caption="Signals of the newest check", figures=head[3:8])


def _incidents(incidents: Sequence[Incident]) -> Html:
    if not incidents:
        return Html()
    newest = incidents[0]
    state = "open" if newest.closed_at is None else f"closed {minute(newest.closed_at)}"
    events = [
        (minute(one.at), one.what, one.who,
         _words({name: value for name, value in one.detail.items() if value}))
        for one in newest.events[-SHOWN:]
    ]  # fmt: skip
    caption = f"{newest.incident_id}, {newest.kind or 'of no known kind yet'}, {state}"
    parts = [element("h3", "Incidents"),
             table(("when (UTC)", "what", "who", "detail"), events, caption=caption)]  # fmt: skip
    if len(incidents) > 1:
        lines = [
            (one.incident_id, one.kind or "-", one.step, minute(one.opened_at),
             minute(one.closed_at) if one.closed_at else "open")
            for one in incidents[1:]
        ]  # fmt: skip
        head = ("incident", "kind", "step", "opened (UTC)", "closed")
        parts.append(details("Incidents before", table(head, lines, caption="Incidents")))
    return joined(parts)


def _decisions(decisions: Sequence[DecisionRecord]) -> Html:
    lines = [
        (minute(one.decided_at), one.step or str(one.action), one.model, one.answered_by or "-",
         one.reason)
        for one in decisions
    ]  # fmt: skip
    head = ("when (UTC)", "decision", "model", "answered by", "why")
    return details("The last decisions", table(head, lines, caption="The newest decisions"))


def _words(value: object) -> str:
    """A value of JSON for people."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_words(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else short_number(value)
