"""Models: accuracy over time, releases on the time line, verdicts and duels."""

from collections.abc import Sequence

from core.intervals import Interval
from core.text import counted
from models.registry.history import PastRelease, PastVerdict
from models.registry.overview import Accuracy
from tasks.report.html.charts import (
    Line,
    Point,
    chart,
    intervals,
    moments,
    number_axis,
    time_axis,
)
from tasks.report.html.elements import Html, bullets, details, element, joined, table
from tasks.report.html.gather import Facts
from tasks.report.html.words import bounded, marked, minute, missing, moment, section

SHOWN = 12  # releases, verdicts and duels in a table
NUDGE = 0.012  # of the chart's width, between two intervals of one moment


def models_section(facts: Facts) -> Html:
    """How good each judged model was, what was released when, by whom, and why."""
    if not facts.verdicts and not facts.releases:
        why = "No model was judged or released yet: `hone retrain` trains and judges one."
        return section("models", "Models and releases", missing(why))
    return section(
        "models",
        "Models and releases",
        _accuracy(facts.verdicts, facts.releases),
        _releases(facts.releases),
        _verdicts(facts.verdicts),
        _duels(facts),
    )


def _accuracy(verdicts: Sequence[PastVerdict], releases: Sequence[PastRelease]) -> Html:
    measured = [one for one in reversed(verdicts) if one.accuracy or one.traffic_accuracy]
    if not measured:
        return missing("No judged model has an accuracy on record yet.")
    times = [moment(one.decided_at) for one in measured]
    times += [moment(one.released_at) for one in releases]
    across = time_axis(min(times), max(times))
    nudge = NUDGE * (across.last - across.first)
    pool = [_point(one, one.accuracy, 0.0) for one in measured if one.accuracy]
    traffic = [_point(one, one.traffic_accuracy, nudge) for one in measured if one.traffic_accuracy]
    up = number_axis(min(one.low for one in pool + traffic), 1.0, percent=True)
    marks = [Line(moment(one.released_at), one.mark()) for one in releases]
    layers = [moments(across, marks), intervals(across, up, pool)]
    layers.append(intervals(across, up, traffic, "dot second"))
    newest = measured[-1]
    drawing = chart(
        across, up, layers,
        title="Accuracy of each judged model, by the audit",
        summary=f"{counted(len(measured), 'model')}, the newest {newest.challenger}",
    )  # fmt: skip
    key = "Blue: images of the pool; orange: served images. Bars are 95 % intervals, upright "
    key += "lines are releases."
    return joined(
        [
            element("div", drawing, class_="charts"),
            element("p", key, class_="muted"),
            details("The figures of each model", _accuracy_table(measured)),
        ]
    )


def _accuracy_table(measured: Sequence[PastVerdict]) -> Html:
    lines = [
        (one.challenger, minute(one.decided_at), _words(one.accuracy), _words(one.traffic_accuracy))
        for one in reversed(measured)
    ]
    head = ("model", "judged", "accuracy on the pool", "accuracy on the traffic")
    return table(head, lines, caption="With 95 % intervals and audit images")


def _point(verdict: PastVerdict, accuracy: Accuracy | None, nudge: float) -> Point:
    assert accuracy is not None
    at = moment(verdict.decided_at) + nudge
    return Point(at, accuracy.value, accuracy.low, accuracy.high)


def _words(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "-"
    one = Interval(accuracy.value, accuracy.low, accuracy.high, accuracy.rows)
    gate = ", used by verdicts" if accuracy.used_by_gate else ""
    return f"{bounded(one)}, {counted(accuracy.rows, 'image')}{gate}"


def _releases(releases: Sequence[PastRelease]) -> Html:
    if not releases:
        return missing("Nothing was released yet.")
    lines = [
        (
            f"{one.number}",
            minute(one.released_at),
            one.words(),
            one.version,
            one.who,
            one.why,
            one.snapshot,
        )
        for one in releases[:SHOWN]
    ]
    head = ("release", "when (UTC)", "change", "model", "who", "why", "trained on")
    more = f", the newest {SHOWN}" if len(releases) > SHOWN else ""
    return table(head, lines, caption=f"Releases{more}")


def _verdicts(verdicts: Sequence[PastVerdict]) -> Html:
    if not verdicts:
        return missing("No verdict yet.")
    newest = verdicts[0]
    against = f"against {newest.champion}" if newest.champion else "the first model"
    about = joined([marked(newest.outcome), f" for {newest.challenger} {against}, on the gate rows "
                    f"of {newest.snapshot}, {minute(newest.decided_at)}"])  # fmt: skip
    lines = [
        (minute(one.decided_at), marked(one.outcome), one.challenger, one.champion or "-",
         "; ".join(one.reasons[:1]))
        for one in verdicts[:SHOWN]
    ]  # fmt: skip
    head = ("when (UTC)", "outcome", "challenger", "champion", "first reason")
    return joined(
        [
            element("h3", "Newest verdict"),
            element("p", about),
            bullets(newest.reasons[:6]),
            details("Verdicts before", table(head, lines, caption="Verdicts")),
        ]
    )


def _duels(facts: Facts) -> Html:
    if not facts.duels:
        return Html()
    standing = facts.status.duel
    now = element("p", f"{standing.duel_id}: {standing.sentence()}.") if standing else ""
    lines = [
        (one.duel_id, marked(one.outcome or "under way"), one.challenger, one.champion,
         minute(one.began_at), minute(one.ended_at) if one.ended_at else "-")
        for one in facts.duels[:SHOWN]
    ]  # fmt: skip
    head = ("duel", "outcome", "challenger", "champion", "began (UTC)", "ended")
    return joined([now, table(head, lines, caption="Duels")])
