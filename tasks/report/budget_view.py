"""The forecast on a screen, as a picture, and as a page."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from core.files import write_atomically
from core.intervals import Interval
from labeling.budget.learning_curve import TAIL, LearningCurve
from labeling.budget.report import BatchAccuracy, BudgetReport, PastForecast, PricedForecast
from labeling.quality.chosen_vs_random import MIN_LABELS
from tasks.report.artifacts import data_uri, escape_markdown
from tasks.report.console import NOTHING, Row, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROUNDS = 5  # in a table; --json has them all
WORDS = frozenset({"after", "round"})  # columns that wrap on a narrow screen


def show_budget(report: BudgetReport, console: Console | None = None) -> None:
    """Print what more labels would add and cost, the advice, and how far to trust it."""
    screen = console or Console(highlight=False)
    for part in _parts(report):
        if isinstance(part, str):
            print_line(screen, part)
        else:
            title, rows = part
            print_table(screen, title, rows, words=WORDS)
    print_line(screen, f"picture: {report.picture}")
    print_line(screen, f"{report.advice}: {report.reason}")


def budget_page(report: BudgetReport) -> str:
    """The same as Markdown, the advice first; the picture is in it."""
    picture = data_uri(Path(report.picture).read_bytes())
    lines = [
        f"# {report.advice}",
        escape_markdown(report.reason),
        f"![learning curve]({picture})",
    ]
    for part in _parts(report):
        if isinstance(part, str):
            lines.append(escape_markdown(part))
        elif part[1]:
            lines += [f"## {part[0]}", markdown_table(part[1], escape_markdown)]
    return "\n\n".join(lines)


def _parts(report: BudgetReport) -> Iterator[str | tuple[str, list[Row]]]:
    """The content in order: sentences, and tables with their titles."""
    now = report.accuracy
    by_curve = _bounded(now.accuracy, now.low, now.high)
    yield (
        f"{report.labels} labels in {report.snapshot}; accuracy by the curve {by_curve}, from "
        f"{report.audit_rows} audit images of the pool"
    )
    if report.champion_accuracy:
        yield f"accuracy of the champion: {report.champion_accuracy}"
    yield "What more labels would add", [_forecast(row) for row in report.forecasts]
    if report.price is None:
        yield "no costs: set price in hone.toml"
    yield "Forecasts of past rounds", [_past(row) for row in report.past[-MAX_ROUNDS:]]
    yield from _trust(report)
    batches = report.batches[-MAX_ROUNDS:]
    yield "Accuracy of the model that chose, from its batch", [*map(_batch, batches)]
    yield from (f"{row.round}: {note}" for row in batches for note in row.notes)


def draw_budget(curve: LearningCurve, report: BudgetReport) -> None:
    """Draw the points with their bars, the curve with its band, and the forecasts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    last = curve.labels + max(row.more for row in report.forecasts)
    along = np.geomspace(min(point.labels for point in curve.points), last, 200)
    errors = curve.errors(along)
    low, high = np.percentile(1 - errors, [TAIL, 100 - TAIL], axis=0)
    axes.fill_between(along, low, high, alpha=0.2, color="tab:blue", lw=0)
    axes.plot(along, 1 - errors[0], color="tab:blue", label="learning curve, 95 %")
    _draw_points(axes, curve)
    axes.axvline(curve.labels, color="black", lw=0.8, ls=":")
    axes.set(xlabel="labels", ylabel="accuracy on the audit samples", xscale="log")
    axes.set(ylim=(max(0, float((1 - errors[0]).min()) - 0.1), 1.01))
    axes.set_title(f"{report.snapshot}: {report.advice}")
    _set_ticks(axes, curve, report.forecasts)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path = Path(report.picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def _draw_points(axes: "Axes", curve: LearningCurve) -> None:
    for is_model, words, mark in (
        (True, "models of past rounds", "o"),
        (False, "head on nested subsets, to scale", "x"),
    ):
        points = [point for point in curve.points if point.model == is_model]
        if points:
            axes.errorbar(
                [point.labels for point in points],
                [point.accuracy for point in points],
                [2 * point.deviation for point in points],
                fmt=mark,
                capsize=3,
                label=words,
            )


def _set_ticks(axes: "Axes", curve: LearningCurve, forecasts: Sequence[PricedForecast]) -> None:
    """The numbers of labels that matter: the smallest, now, and those ahead with their costs."""
    from matplotlib.ticker import NullFormatter

    models = [point.labels for point in curve.points if point.model]
    first = min([*models, curve.points[0].labels])
    ticks = [*dict.fromkeys([first, curve.labels, *(row.labels for row in forecasts)])]
    axes.set_xticks(ticks)
    axes.set_xticklabels([f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    for row in forecasts:
        if row.cost is not None:
            axes.annotate(
                f"costs {row.cost:,.0f}",
                (row.labels, row.accuracy),
                fontsize=8,
                textcoords="offset points",
                xytext=(0, -14),
                ha="center",
            )


def _forecast(row: PricedForecast) -> Row:
    return {
        "more labels": f"{row.more:,}",
        "accuracy": _bounded(row.accuracy, row.low, row.high),
        "points added": f"{100 * row.gain:.1f} ({100 * row.gain_low:.1f} to "
        f"{100 * row.gain_high:.1f})",
        "cost": NOTHING if row.cost is None else f"{row.cost:,.2f}",
        "per point": NOTHING if row.cost_of_a_point is None else f"{row.cost_of_a_point:,.2f}",
    }


def _past(row: PastForecast) -> Row:
    return {
        "after": row.snapshot,
        "for labels": f"{row.labels:,} -> {row.ahead:,}",
        "forecast": _bounded(row.forecast, row.low, row.high),
        "came": f"{row.came:.3f}",
        "off by points": f"{100 * row.error:+.1f}",
    }


def _trust(report: BudgetReport) -> Iterator[str]:
    """How good past forecasts were, and what the curve is fitted to, in words."""
    if report.past_error is not None and report.past_error_of_no_change is not None:
        inside = sum(row.low <= row.came <= row.high for row in report.past)
        yield (
            f"past forecasts were off by {100 * report.past_error:.1f} points on average ("
            f"{100 * report.past_error_of_no_change:.1f} for expecting no change), "
            f"{inside} of {len(report.past)} came within the bounds"
        )
    else:
        yield "no past forecast to score yet: the second trained round makes the first"
    if report.choosing:
        yield f"chosen labels are {report.choosing.summary}"
    else:
        yield f"chosen against random labels: too few to compare ({MIN_LABELS} of each are needed)"
    yield f"{report.models} models, and nested subsets with {report.features}"


def _batch(row: BatchAccuracy) -> Row:
    return {
        "round": row.round,
        "audit": _estimate(row.audit),
        "LURE": _estimate(row.lure),
        "naive": _estimate(row.naive),
    }


def _estimate(value: Interval | None) -> str:
    return NOTHING if value is None else _bounded(value.value, value.low, value.high)


def _bounded(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f}-{high:.3f})"
