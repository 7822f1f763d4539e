"""The forecast on a screen, as a picture, and as a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from core.files import write_atomically
from labeling.budget.learning_curve import TAIL, LearningCurve
from labeling.quality.chosen_vs_random import MIN_LABELS
from tasks.report.artifacts import data_uri, escape_markdown

LAST = 5  # rounds in a table; --json has them all
NOTHING = "-"


def show_budget(report: dict[str, Any], console: Console | None = None) -> None:
    """Print what more labels would add and cost, the advice, and how far to trust it."""
    screen = console or Console(highlight=False)
    for part in _parts(report):
        if isinstance(part, str):
            screen.print(part, soft_wrap=True, markup=False)
        else:
            _print(screen, *part)
    screen.print(f"picture: {report['picture']}", soft_wrap=True, markup=False)
    screen.print(f"{report['advice']}: {report['reason']}", soft_wrap=True, markup=False)


def budget_page(report: dict[str, Any]) -> str:
    """The same as Markdown, the advice first; the picture is in it."""
    picture = data_uri(Path(report["picture"]).read_bytes())
    lines = [
        f"# {report['advice']}",
        escape_markdown(report["reason"]),
        f"![learning curve]({picture})",
    ]
    for part in _parts(report):
        if isinstance(part, str):
            lines.append(escape_markdown(part))
        elif part[1]:
            lines += [f"## {part[0]}", _markdown(part[1])]
    return "\n\n".join(lines)


def _parts(report: dict[str, Any]) -> Iterator[str | tuple[str, list[dict[str, str]]]]:
    """What there is to tell, in order: sentences, and tables with their titles."""
    now = _bounded(report["accuracy"], "accuracy", "low", "high")
    yield (
        f"{report['labels']} labels in {report['snapshot']}; the curve says accuracy {now}, "
        f"from {report['audit_rows']} audit samples"
    )
    yield "What more labels would add", [_forecast(row) for row in report["forecasts"]]
    if report["price"] is None:
        yield "no costs: set price in hone.toml"
    yield "Forecasts of past rounds", [_past(row) for row in report["past"][-LAST:]]
    yield from _trust(report)
    batches = report["batches"][-LAST:]
    yield "Accuracy of the model that chose, from its batch", [*map(_batch, batches)]
    yield from (f"{row['round']}: {said}" for row in batches for said in row["notes"])


def draw_budget(curve: LearningCurve, report: dict[str, Any], path: Path) -> None:
    """A picture: the points with their bars, the curve with its band, and what lies ahead."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    last = curve.labels + max(row["more"] for row in report["forecasts"])
    first = min(point[0] for point in curve.points)
    along = np.geomspace(first, last, 200)
    errors = curve.errors(along)
    low, high = np.percentile(1 - errors, [TAIL, 100 - TAIL], axis=0)
    axes.fill_between(along, low, high, alpha=0.2, color="tab:blue", lw=0)
    axes.plot(along, 1 - errors[0], color="tab:blue", label="learning curve, 95 %")
    for is_model, words, mark in (
        (True, "models of past rounds", "o"),
        (False, "head on nested subsets, to scale", "x"),
    ):
        points = [point for point in curve.points if point[3] == is_model]
        if points:
            labels, shares, deviations, _ = zip(*points, strict=True)
            bars = [2 * deviation for deviation in deviations]
            axes.errorbar(labels, shares, bars, fmt=mark, capsize=3, label=words)
    axes.axvline(curve.labels, color="black", lw=0.8, ls=":")
    axes.set(xlabel="labels", ylabel="accuracy on the audit samples", xscale="log")
    axes.set(ylim=(max(0, float((1 - errors[0]).min()) - 0.1), 1.01))
    axes.set_title(f"{report['snapshot']}: {report['advice']}")
    _ticks(axes, [point[0] for point in curve.points if point[3]], curve, report)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def _ticks(axes: Any, labels: list[int], curve: LearningCurve, report: dict[str, Any]) -> None:
    """Numbers of labels that say something: the smallest, now, and those ahead with their costs."""
    from matplotlib.ticker import NullFormatter

    ahead = [curve.labels, *(row["labels"] for row in report["forecasts"])]
    axes.set_xticks([*dict.fromkeys([min([*labels, curve.points[0][0]]), *ahead])])
    axes.set_xticklabels([f"{int(tick):,}" for tick in axes.get_xticks()])
    axes.xaxis.set_minor_formatter(NullFormatter())
    if report["price"] is not None:
        below = {"textcoords": "offset points", "xytext": (0, -14), "ha": "center"}
        for row in report["forecasts"]:
            at = row["labels"], row["accuracy"]
            axes.annotate(f"costs {row['cost']:,.0f}", at, fontsize=8, **below)


def _forecast(row: dict[str, Any]) -> dict[str, str]:
    cost, point = row["cost"], row["cost_of_a_point"]
    return {
        "more labels": f"{row['more']:,}",
        "accuracy": _bounded(row, "accuracy", "low", "high"),
        "points added": f"{100 * row['gain']:.1f} ({100 * row['gain_low']:.1f} to "
        f"{100 * row['gain_high']:.1f})",
        "cost": NOTHING if cost is None else f"{cost:,.2f}",
        "per point": NOTHING if point is None else f"{point:,.2f}",
    }


def _past(row: dict[str, Any]) -> dict[str, str]:
    return {
        "after": row["snapshot"],
        "for labels": f"{row['labels']:,} -> {row['ahead']:,}",
        "forecast": _bounded(row, "forecast", "low", "high"),
        "came": f"{row['came']:.3f}",
        "off by points": f"{100 * row['error']:+.1f}",
    }


def _trust(report: dict[str, Any]) -> list[str]:
    """How good past forecasts were, and what the curve stands on, in words."""
    lines = []
    if report["past"]:
        inside = sum(row["low"] <= row["came"] <= row["high"] for row in report["past"])
        lines.append(
            f"past forecasts were off by {100 * report['past_error']:.1f} points on average ("
            f"{100 * report['past_error_of_no_change']:.1f} for who expects no change), "
            f"{inside} of {len(report['past'])} came within the bounds"
        )
    else:
        lines.append("no forecast of the past to score yet: two trained rounds make the first")
    choosing = report["choosing"]
    lines.append(
        f"choosing is {choosing['said']}"
        if choosing
        else f"choosing against chance: too few labels of either kind to tell ({MIN_LABELS} each)"
    )
    lines.append(f"{report['models']} models, and nested subsets with {report['features']}")
    return lines


def _batch(row: dict[str, Any]) -> dict[str, str]:
    told = {
        name: NOTHING if row[name] is None else _bounded(row[name], "value", "low", "high")
        for name in ("audit", "lure", "naive")
    }
    names = {"audit": "audit", "lure": "LURE", "naive": "naive"}
    return {"round": row["round"], **{names[name]: words for name, words in told.items()}}


def _bounded(row: dict[str, Any], value: str, low: str, high: str) -> str:
    return f"{row[value]:.3f} ({row[low]:.3f}-{row[high]:.3f})"


def _markdown(rows: list[dict[str, str]]) -> str:
    lines = [
        [*rows[0]],
        ["---"] * len(rows[0]),
        *([*map(escape_markdown, row.values())] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _print(screen: Console, title: str, rows: list[dict[str, str]]) -> None:
    if not rows:
        return
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for name in rows[0]:
        justify: Any = "left" if name in ("after", "round") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    screen.print(table)
