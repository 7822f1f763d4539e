"""How right the champion was in service, from truths that people confirmed later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from core.intervals import Interval
from models.watching.confirmed_mistakes import confirmed_mistakes
from models.watching.performance import ClassPerformance, Performance
from tasks.context import Context
from tasks.operate.performance import PerformanceReport, load_performance, standing_sentence
from tasks.report.html.charts import Point, band, chart, intervals, number_axis, time_axis
from tasks.report.html.elements import Html, details, element, joined, plain, table
from tasks.report.html.pictures import Picture, captions, picture_grid, served_picture
from tasks.report.html.words import bounded, measured, minute, missing, section

MISTAKES = 12
ROWS = 16  # classes and sources in a table
DAY = 86_400


@dataclass(frozen=True)
class ServedMistake:
    """A served answer that people confirmed to be wrong."""

    label: str
    truth: str
    confidence: float
    served_at: str
    picture: Picture


@dataclass(frozen=True)
class OutcomeFacts:
    """The champion's figures by day, and its surest confirmed mistakes."""

    report: PerformanceReport
    mistakes: list[ServedMistake]


def load_outcomes(ctx: Context, connection: Connection, *, days: int) -> OutcomeFacts:
    """The figures of the last days that have a truth."""
    report = _report(ctx.engine, days)
    rows = confirmed_mistakes(connection, report.model, most=MISTAKES) if report.model else []
    return OutcomeFacts(
        report,
        [
            ServedMistake(row.label, row.truth, row.confidence, row.served_at,
                          served_picture(ctx, row))
            for row in rows
        ],
    )  # fmt: skip


def _report(engine: Engine, days: int) -> PerformanceReport:
    return load_performance(engine, None, period="day", last=min(days, 60))


def outcomes_section(facts: OutcomeFacts) -> Html:
    """Accuracy and F1 by day with intervals, by class and source, and the surest mistakes."""
    report = facts.report
    title = "Right in service"
    if report.whole is None:
        of = report.model or "the first champion"
        why = f"No truth judges {of} yet: `POST /feedback` and `hone feedback FILE` take them in."
        counts = element("p", f"{standing_sentence(report.counts)}.", class_="muted")
        return section("outcomes", title, missing(why), counts if report.counts.total else "")
    rows = f"{report.whole.rows:,} served images with a confirmed truth"
    about = f"{report.model}, on {rows}. {standing_sentence(report.counts)}."
    figures = [("Accuracy", report.whole.accuracy), ("F1, mean of the classes", report.whole.f1),
               ("False-positive rate", report.whole.false_positive_rate)]  # fmt: skip
    shown = [
        element("div", element("dt", name), element("dd", measured(one, rows)))
        for name, one in figures
        if one is not None
    ]
    return section(
        "outcomes",
        title,
        element("p", about),
        element("dl", *shown, class_="facts"),
        _charts(report.periods),
        _by_class(report.whole),
        _by_source(report.slices),
        details("The figures of each day", _by_day(report.periods)),
        _mistakes(facts.mistakes),
    )


def _charts(periods: Mapping[str, Performance]) -> Html:
    if not periods:
        return Html()
    days = [datetime.fromisoformat(name).replace(tzinfo=UTC).timestamp() for name in periods]
    across = time_axis(days[0], days[-1] + DAY)

    def drawn(title: str, value: Callable[[Performance], Interval]) -> Html:
        points = [
            Point(day + DAY / 2, one.value, one.low, one.high)
            for day, one in zip(days, map(value, periods.values()), strict=True)
        ]
        up = number_axis(min(one.low for one in points), 1.0, percent=True)
        layers = [band(across, up, points), intervals(across, up, points)]
        last = points[-1]
        words = f"{last.value:.1%} on the last of {len(points)} days"
        return chart(across, up, layers, title=title, summary=words)

    return element(
        "div",
        drawn("Accuracy by day", lambda one: one.accuracy),
        drawn("F1 by day, mean of the classes", lambda one: one.f1),
        class_="charts",
    )


def _by_class(whole: Performance) -> Html:
    lowest = sorted(whole.classes, key=_recall)
    lines = [
        (one.name, f"{one.truths:,}", *(_shown(figure) for figure in
         (one.precision, one.recall, one.f1, one.false_positive_rate)))
        for one in lowest[:ROWS]
    ]  # fmt: skip
    head = ("class", "images", "precision", "recall", "F1", "false positives")
    more = f", the {ROWS} of lowest recall of {len(lowest)}" if len(lowest) > ROWS else ""
    return table(head, lines, caption=f"By class{more}", figures=head[1:])


def _recall(one: ClassPerformance) -> float:
    return 1.0 if one.recall is None else one.recall.value


def _by_source(slices: Mapping[str, Performance]) -> Html:
    if list(slices) in ([], [""]):
        return Html()
    lowest = sorted(slices.items(), key=lambda one: one[1].accuracy.value)
    lines = [(name or "no source", *_figures(one)) for name, one in lowest[:ROWS]]
    head = ("source", "images", "accuracy", "F1", "false positives")
    return table(head, lines, caption="By source, the lowest first", figures=head[1:])


def _by_day(periods: Mapping[str, Performance]) -> Html:
    lines = [(name, *_figures(one)) for name, one in reversed([*periods.items()])]
    head = ("day (UTC)", "images", "accuracy", "F1", "false positives")
    return table(head, lines, caption="By day", figures=head[1:])


def _figures(one: Performance) -> tuple[str, ...]:
    figures = (one.accuracy, one.f1, one.false_positive_rate)
    return (f"{one.rows:,}", *map(_shown, figures))


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else bounded(interval)


def _mistakes(mistakes: list[ServedMistake]) -> Html:
    if not mistakes:
        return Html()
    shown = [
        (one.picture, f"served image answered {one.label[:80]}, it is {one.truth[:80]}",
         captions(joined([element("b", plain(one.label, 40)), f" {one.confidence:.2f}"]),
                  joined(["truth ", plain(one.truth, 40)]),
                  element("span", minute(one.served_at), class_="muted")))
        for one in mistakes
    ]  # fmt: skip
    return joined([element("h3", "Confirmed mistakes it was most sure of"), picture_grid(shown)])
