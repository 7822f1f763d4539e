"""Charts as SVG, drawn to be read at 340 pixels and wider, in the colours of the page.

A chart is an image with a sentence for those who do not see it; the figures stand in a table too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.report.html.elements import Html, element, joined

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 24
TIME_TICKS = 4
STEPS = (1, 2, 2.5, 5, 10)  # of an axis, in powers of ten


@dataclass(frozen=True)
class Point:
    """A value with the bounds of its interval, at a place along the axis."""

    at: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A line across the chart: a threshold, or a moment."""

    at: float
    name: str


@dataclass(frozen=True)
class Axis:
    """The numbers that a side of the chart stands for."""

    first: float
    last: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        first, last, at = self.first, self.last, min(max(value, self.first), self.last)
        if self.is_log:
            first, last, at = math.log(first), math.log(last), math.log(at)
        return 0.5 if last <= first else (at - first) / (last - first)


def number_axis(low: float, high: float, *, percent: bool = False) -> Axis:
    """An axis from at most `low` to at least `high`, with round numbers at its ticks."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high <= low:
        high = low + (0.01 if percent else 1.0)
    step = _round_step((high - low) / 3)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(
        (at * step, f"{100 * at * step:.3g} %" if percent else short_number(at * step))
        for at in range(first, last + 1)
    )
    return Axis(first * step, last * step, ticks)


def time_axis(first: float, last: float) -> Axis:
    """An axis of moments (seconds since 1970, UTC)."""
    if last <= first:
        first, last = first - 1800, last + 1800
    span = last - first
    form = "%d %b" if span >= 2 * 86400 else "%H:%M" if span >= 600 else "%H:%M:%S"
    count = TIME_TICKS - (span < 600)  # ticks with seconds are longer
    moments = [first + span * place / (count - 1) for place in range(count)]
    names = [datetime.fromtimestamp(at, UTC).strftime(form) for at in moments]
    if span < 2 * 86400:
        names[0] = f"{datetime.fromtimestamp(first, UTC):%d %b} {names[0]}"
    return Axis(first, last, tuple(zip(moments, names, strict=True)))


def label_axis(first: int, last: int, marked: Sequence[int]) -> Axis:
    """A logarithmic axis of numbers of labels, with ticks at those that matter."""
    first = max(1, first)
    ticks: list[tuple[float, str]] = []
    for count in sorted({first, *marked, last}):
        if not ticks or math.log(count / ticks[-1][0]) > 0.16 * math.log(max(last / first, 1.1)):
            ticks.append((count, short_number(count)))
    return Axis(first, max(last, first + 1), tuple(ticks), is_log=True)


def bars(across: Axis, up: Axis, values: Sequence[tuple[float, float]], width: float) -> Html:
    """A bar for each place and its value; `width` in the units of the axis across."""
    drawn = []
    for at, value in values:
        left, right = _x(across, at), _x(across, at + width)
        top = _y(up, value)
        drawn.append(
            element("rect", x=_n(left), y=_n(top), width=_n(max(right - left - 0.6, 0.8)),
                    height=_n(max(_y(up, up.first) - top, 0)), class_="bar")
        )  # fmt: skip
    return joined(drawn)


def band(across: Axis, up: Axis, points: Sequence[Point]) -> Html:
    """A line through the values with the band of their intervals; a single one has bars."""
    if len(points) < 2:
        return intervals(across, up, points)
    upper = [(_x(across, one.at), _y(up, one.high)) for one in points]
    lower = [(_x(across, one.at), _y(up, one.low)) for one in reversed(points)]
    return joined(
        [element("path", d=f"{_path(upper + lower)}Z", class_="band"), line(across, up, points)]
    )


def line(across: Axis, up: Axis, points: Sequence[Point], kind: str = "line") -> Html:
    """A line through the values."""
    places = [(_x(across, one.at), _y(up, one.value)) for one in points]
    return element("path", d=_path(places), class_=kind) if places else Html()


def intervals(across: Axis, up: Axis, points: Sequence[Point], kind: str = "dot") -> Html:
    """A dot for each value with a bar for its interval."""
    drawn = []
    for one in points:
        x = _n(_x(across, one.at))
        bar = {"x1": x, "x2": x, "y1": _n(_y(up, one.low)), "y2": _n(_y(up, one.high))}
        drawn.append(element("line", **bar, class_=f"whisker {kind}"))
        drawn.append(element("circle", cx=x, cy=_n(_y(up, one.value)), r="3", class_=kind))
    return joined(drawn)


def dots(across: Axis, up: Axis, points: Sequence[Point], kind: str = "alarm") -> Html:
    """A dot for each value."""
    return joined(
        element("circle", cx=_n(_x(across, one.at)), cy=_n(_y(up, one.value)), r="3.5", class_=kind)
        for one in points
    )


def threshold(up: Axis, mark: Line) -> Html:
    """A dashed line across at a threshold, with its name."""
    y = _y(up, mark.at)
    below = y < TOP + 14
    return joined(
        [
            element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_n(y), y2=_n(y), class_="threshold"),
            element("text", mark.name, x=LEFT + 4, y=_n(y + 11 if below else y - 4),
                    class_="mark"),
        ]
    )  # fmt: skip


def moments(across: Axis, marks: Sequence[Line]) -> Html:
    """An upright line for each moment, such as a release."""
    drawn = []
    for mark in marks:
        if across.first <= mark.at <= across.last:
            x = _n(_x(across, mark.at))
            title = element("title", mark.name)
            sides = f"M{x} {TOP}V{HEIGHT - BOTTOM}"
            drawn.append(element("g", title, element("path", d=sides, class_="moment")))
    return joined(drawn)


def chart(across: Axis, up: Axis, layers: Sequence[Html], *, title: str, summary: str) -> Html:
    """A figure: the layers between two axes, under a title; `summary` says what one sees."""
    drawing = element(
        "svg",
        _grid(across, up),
        *layers,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}: {summary}",
    )
    return element("figure", element("figcaption", title), drawing, class_="chart")


def gauge(value: float, low: float, high: float) -> Html:
    """A share with its interval as a small bar."""
    first, last = min(max(low, 0), 1) * 100, min(max(high, 0), 1) * 100
    middle = min(max(value, 0), 1) * 100
    return element(
        "svg",
        element("rect", x="0", y="3", width="100", height="4", class_="rail"),
        element("rect", x=_n(first), y="1", width=_n(max(last - first, 0.5)), height="8",
                class_="range"),
        element("rect", x=_n(middle - 0.6), y="0", width="1.2", height="10", class_="value"),
        viewBox="0 0 100 10", preserveAspectRatio="none", class_="gauge", aria_hidden="true",
    )  # fmt: skip


def short_number(value: float) -> str:
    """A number in few characters: 1,200, 45k, 3.2M, 0.025."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    for least, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= least:
            scale = 1e3 if unit == "k" else least
            return f"{value / scale:.3g}{unit}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _grid(across: Axis, up: Axis) -> Html:
    drawn = []
    for value, name in up.ticks:
        y = _n(_y(up, value))
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        drawn.append(element("text", name, x=LEFT - 6, y=_n(_y(up, value) + 4), text_anchor="end"))
    last = len(across.ticks) - 1
    for place, (value, name) in enumerate(across.ticks):
        anchor = "start" if place == 0 else "end" if place == last else "middle"
        x = _n(_x(across, value))
        drawn.append(element("text", name, x=x, y=HEIGHT - 6, text_anchor=anchor))
    return joined(drawn)


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _round_step(size: float) -> float:
    power = 10.0 ** math.floor(math.log10(size))
    return next(step * power for step in STEPS if step * power >= size * 0.999)
