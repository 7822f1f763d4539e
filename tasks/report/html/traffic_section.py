"""Served traffic over time: how much, how sure, and by which model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from core.intervals import Interval, mean_interval
from models.serving.traffic_history import ServedRow
from tasks.report.html.charts import (
    Axis,
    Line,
    Point,
    band,
    bars,
    chart,
    moments,
    number_axis,
    time_axis,
)
from tasks.report.html.elements import Html, details, element, table
from tasks.report.html.gather import Facts
from tasks.report.html.words import bounded, missing, moment, section

PARTS = 60  # of the period at most
FEWEST = 11  # parts beside the last one that there is room for
SIZES = ((60, "minute"), (600, "10 minutes"), (3600, "hour"), (6 * 3600, "6 hours"),
         (86400, "day"), (7 * 86400, "week"), (30 * 86400, "30 days"))  # fmt: skip
MODELS, CLASSES = 8, 12  # that are named


@dataclass(frozen=True)
class Part:
    """The predictions of one part of the period."""

    begins: float
    volume: int
    review: Interval
    confidence: Interval


def traffic_section(facts: Facts) -> Html:
    """Volume, share for review, confidence and models of the period."""
    rows = facts.traffic.rows
    title = "Served traffic"
    if not rows:
        when = f"in the last {facts.days} days" if facts.status.predictions else "yet"
        remedy = "`bentoml serve` answers, `hone watch` takes over what the service recorded"
        return section("traffic", title, missing(f"No prediction was served {when}: {remedy}."))
    size, name = part_size(moment(rows[-1].served_at) - moment(rows[0].served_at))
    parts = parts_of(rows, size, facts.traffic.step)
    first = min(parts[0].begins, parts[-1].begins - FEWEST * size)
    across = time_axis(first, parts[-1].begins + size)
    marks = [Line(moment(one.released_at), one.mark()) for one in facts.releases]
    count = facts.traffic.step * len(rows)
    sampled = f", of which one in {facts.traffic.step:,} was read" if facts.traffic.step > 1 else ""
    length = name if name[0].isdigit() else f"one {name}"
    intro = (
        f"{'About ' if sampled else ''}{count:,} predictions in the last {facts.days} days{sampled}"
        f"; parts of {length} (UTC), intervals of 95 %."
    )
    return section(
        "traffic",
        title,
        element("p", intro),
        element("div", *_charts(parts, across, size, name, marks), class_="charts"),
        _by_model(rows, facts.traffic.step),
        _by_class(rows),
        details("The figures of each part", _figures(parts, name)),
    )


def part_size(span: float) -> tuple[int, str]:
    """The smallest size of which at most PARTS fit into the period."""
    return next(((size, name) for size, name in SIZES if span / size < PARTS), SIZES[-1])


def parts_of(rows: Sequence[ServedRow], size: int, step: int) -> list[Part]:
    """The rows in parts of so many seconds, oldest first, without empty ones."""
    begins = np.array([moment(row.served_at) // size * size for row in rows])
    review = np.array([row.needs_review for row in rows], float)
    sure = np.clip(np.nan_to_num([row.confidence for row in rows]), 0, 1)
    parts = []
    for one in np.unique(begins):
        mine = begins == one
        counts = float(one), int(mine.sum()) * step
        parts.append(Part(*counts, mean_interval(review[mine]), mean_interval(sure[mine])))
    return parts


def _charts(parts: list[Part], across: Axis, size: int, name: str, marks: list[Line]) -> list[Html]:
    volume = number_axis(0, max(part.volume for part in parts))
    drawn = [moments(across, marks)]
    busiest = max(parts, key=lambda part: part.volume)
    charts = [
        chart(
            across, volume,
            [bars(across, volume, [(one.begins, one.volume) for one in parts], size), *drawn],
            title=f"Predictions a {name}" if name[0].isalpha() else f"Predictions in {name}",
            summary=f"{len(parts)} parts, at most {busiest.volume:,}",
        )
    ]  # fmt: skip
    for title, values in (
        ("Share marked for review", [one.review for one in parts]),
        ("Mean confidence", [one.confidence for one in parts]),
    ):
        points = [
            Point(part.begins + size / 2, one.value, one.low, one.high)
            for part, one in zip(parts, values, strict=True)
        ]
        low, high = min(one.low for one in points), max(one.high for one in points)
        up = number_axis(max(0.0, low), min(1.0, high), percent=True)
        words = f"from {points[0].value:.1%} to {points[-1].value:.1%}"
        charts.append(
            chart(across, up, [band(across, up, points), *drawn], title=title, summary=words)
        )
    return charts


def _by_model(rows: Sequence[ServedRow], step: int) -> Html:
    counts = Counter(row.model for row in rows)
    lines = []
    for model, count in counts.most_common(MODELS):
        mine = [row for row in rows if row.model == model]
        review = mean_interval(np.array([row.needs_review for row in mine], float))
        sure = mean_interval(np.clip(np.nan_to_num([row.confidence for row in mine]), 0, 1))
        lines.append((model, f"{count * step:,}", bounded(review), bounded(sure)))
    head = ("model", "predictions", "for review", "confidence")
    return table(head, lines, caption="By model", figures=head[1:])


def _by_class(rows: Sequence[ServedRow]) -> Html:
    counts = Counter(row.label for row in rows)
    lines = [
        (label, bounded(mean_interval(np.repeat([1.0, 0.0], [count, len(rows) - count]))))
        for label, count in counts.most_common(CLASSES)
    ]
    more = f", the {CLASSES} most frequent of {len(counts)}" if len(counts) > CLASSES else ""
    return details(
        "Predicted classes",
        table(
            ("class", "share"), lines, caption=f"Share of the predictions{more}", figures=["share"]
        ),
    )


def _figures(parts: list[Part], name: str) -> Html:
    lines = [
        (
            f"{datetime.fromtimestamp(part.begins, UTC):%Y-%m-%d %H:%M}",
            f"{part.volume:,}",
            bounded(part.review),
            bounded(part.confidence),
        )
        for part in reversed(parts)
    ]
    head = ("begins (UTC)", "predictions", "for review", "confidence")
    return table(head, lines, caption=f"By {name}", figures=head[1:])
