"""Signals about the service itself: lag, broken rows, schema, refused images, errors, latency.

A share of the new window is compared with the same share of all windows before and of the
reference, by the exact test of two samples with ties broken at random. Each window against all
before it: under exchangeable traffic these p-values are independent and uniform, so their evidence
may be accumulated. Hits that come in bursts are scaled down by the dispersion of earlier windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.image_statistics import STATISTICS
from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import SUPPORTING, Family, Shift, Signal, WatchPolicy, Window
from models.watching.views import EXEMPLARS, LEVEL, next_state

CATEGORIES = ("format",)  # statistics of which a new value is unexpected
SIZES = ("width", "height", "aspect")  # and those with a range
WIDER = 1.0  # doublings (sizes are logarithms of 2) outside the reference's range: still expected
SLOW = 2.0  # times the usual latency that nine requests of ten stay below
MOST_SOURCES = 1000
DISPERSED_FROM = 5  # windows: fewer say nothing about bursts


@dataclass(frozen=True)
class Requests:
    """What the service did since the last check; latencies are seconds, drawn evenly."""

    answered: int
    refused: int = 0
    errors: int = 0
    latencies: np.ndarray | None = None


@dataclass(frozen=True)
class _Share:
    """How many of the rows are hits, the sentence about them, and how many the reference has."""

    hits: int
    rows: int
    words: str
    past_hits: int = 0
    past_rows: int = 0
    exemplars: tuple[int, ...] = ()


def service_signals(
    reference: Window,
    window: Window,
    state: Mapping[str, Any],
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
    lag_hours: float | None = None,
    requests: Requests | str = "the service's counters were not read",
) -> tuple[list[Signal], dict[str, Any]]:
    """The signals `lag`, `broken`, `schema`, `refused`, `errors` and `latency`, and the state.

    `requests` is what the service counted, or the reason why that is not known.
    """
    schema, sources = _schema(reference, window, state)
    shares: dict[str, _Share | str] = {
        "broken": _Share(
            window.broken, len(window) + window.broken, "rows are not finite or unreadable",
            reference.broken, len(reference) + reference.broken,
        ),
        "schema": schema,
        **_of_requests(requests),
    }  # fmt: skip
    usual, latency = _latency(requests, state)
    shares["latency"] = latency
    signals = [_lag(lag_hours, window, policy)]
    history: dict[str, list[float]] = {}
    for name, share in shares.items():
        past = state.get("history", {}).get(name)
        signal, history[name] = _compared(name, share, past, state, rng)
        signals.append(signal)
    return signals, next_state(state, signals, {"history": history, "sources": sources, **usual})


def unexpected(reference: Window, window: Window) -> np.ndarray:
    """Which rows have a format that the reference has not, or a size far outside its range."""
    marked = np.zeros(len(window), bool)
    for name in (*CATEGORIES, *SIZES):
        at = STATISTICS.index(name)
        past, new = reference.statistics[:, at], window.statistics[:, at]
        past = past[np.isfinite(past)]
        if not len(past):
            continue
        if name in CATEGORIES:
            marked |= np.isfinite(new) & ~np.isin(new, past)
        else:
            marked |= (new < past.min() - WIDER) | (new > past.max() + WIDER)
    return marked


def _schema(
    reference: Window, window: Window, state: Mapping[str, Any]
) -> tuple[_Share, list[str]]:
    """Rows outside the schema; ranges are of one half of the reference, the other is counted."""
    rows = np.arange(len(reference))
    bounds, counted = reference.take(rows[::2]), reference.take(rows[1::2])
    marked = unexpected(bounds, window)
    known = set(state.get("sources", ()))
    sources = np.asarray(window.sources if window.sources is not None else [], dtype=str)
    words = "images have a format or a size that the reference has not"
    if known and len(sources):
        new = np.array([source not in known for source in sources])
        if new.any():
            words = (
                f"images are unexpected; new sources: {', '.join(sorted(set(sources[new]))[:3])}"
            )
        marked |= new
    share = _Share(
        int(marked.sum()), len(window), words, int(unexpected(bounds, counted).sum()),
        len(counted), tuple(int(row) for row in np.flatnonzero(marked)[:EXEMPLARS]),
    )  # fmt: skip
    new_names = sorted(set(sources.tolist()) - known)
    return share, sorted(known | set(new_names[: max(MOST_SOURCES - len(known), 0)]))


def _of_requests(requests: Requests | str) -> dict[str, "_Share | str"]:
    if isinstance(requests, str):
        return {"refused": requests, "errors": requests}
    total = requests.answered + requests.refused + requests.errors
    return {
        "refused": _Share(requests.refused, total, "requests were refused"),
        "errors": _Share(requests.errors, total, "requests failed in the service"),
    }


def _latency(
    requests: Requests | str, state: Mapping[str, Any]
) -> tuple[dict[str, float], _Share | str]:
    """Requests slower than the first windows make one expect, and what to store about those."""
    if isinstance(requests, str):
        return {}, requests
    seconds = requests.latencies
    if seconds is None or not len(seconds):
        return {}, "no latencies were recorded"
    usual = float(state.get("usual_latency", np.quantile(seconds, 0.9)))
    bound = SLOW * usual
    words = f"requests took longer than {1000 * bound:.0f} ms"
    share = _Share(int((np.asarray(seconds) > bound).sum()), len(seconds), words)
    return {"usual_latency": usual}, share


def _lag(hours: float | None, window: Window, policy: WatchPolicy) -> Signal:
    """No evidence: lag is no chance. What is late is late, and alarms by the ladder alone."""
    late = hours is not None and hours > policy.max_lag_hours
    outcome = Shift.DRIFT if late else Shift.NONE
    meaning = (
        "the age of the oldest prediction that no check covered is not known"
        if hours is None
        else f"the oldest prediction that no check covered is {hours:.1f} hours old "
        f"(at most {policy.max_lag_hours:g})"
    )
    return Signal(
        name="lag", family=Family.SERVICE, outcome=Shift.UNKNOWN if hours is None else outcome,
        value=hours, threshold=policy.max_lag_hours, evidence=0.0, accumulated=0.0, p_value=None,
        rows=len(window), groups=len(np.unique(window.groups)), meaning=meaning, weight=0.0,
    )  # fmt: skip


def _compared(
    name: str,
    share: _Share | str,
    past: list[float] | None,
    state: Mapping[str, Any],
    rng: np.random.Generator,
) -> tuple[Signal, list[float]]:
    """The signal of a share, and its history: hits, rows, windows and their summed dispersion."""
    before = float(state.get("accumulated", {}).get(name, 0.0))
    if isinstance(share, str) or not share.rows:
        meaning = share if isinstance(share, str) else "nothing came in since the last check"
        return _signal(name, Shift.UNKNOWN, None, 0.0, before, None, 0, meaning), past or [0.0] * 4
    hits, rows, windows, dispersion = past or [share.past_hits, share.past_rows, 0, 0.0]
    scale = max(1.0, dispersion / windows) if windows >= DISPERSED_FROM else 1.0
    p_value = excess_p(share.hits / scale, share.rows / scale, hits / scale, rows / scale, rng)
    value = share.hits / share.rows
    usual = f"{hits / rows:.2%} of {rows:,.0f} before" if rows else "nothing to compare with yet"
    meaning = f"{share.hits} of {share.rows} {share.words} ({usual}); p {p_value:.2g}"
    outcome = Shift.DRIFT if p_value <= LEVEL else Shift.NONE
    signal = _signal(
        name, outcome, value, from_p_value(p_value), before, p_value, share.rows, meaning,
        share.exemplars,
    )  # fmt: skip
    expected = share.rows * hits / rows if rows else 0.0
    if expected > 0:
        windows += 1
        dispersion += (share.hits - expected) ** 2 / expected
    return signal, [hits + share.hits, rows + share.rows, windows, round(dispersion, 4)]


def excess_p(
    hits: float, rows: float, past_hits: float, past_rows: float, rng: np.random.Generator
) -> float:
    """P of at least so many hits among `rows`, of all hits of both; uniform while nothing changed.

    Numbers are rounded to whole ones. Ties are broken at random.
    """
    from scipy.stats import hypergeom

    new, size, old, other = (round(number) for number in (hits, rows, past_hits, past_rows))
    size, other = max(size, new, 1), max(other, old)
    count = hypergeom(size + other, new + old, size)
    return float(count.sf(new) + rng.random() * count.pmf(new))


def _signal(
    name: str,
    outcome: Shift,
    value: float | None,
    evidence: float,
    before: float,
    p_value: float | None,
    rows: int,
    meaning: str,
    exemplars: tuple[int, ...] = (),
) -> Signal:
    return Signal(
        name=name, family=Family.SERVICE, outcome=outcome, value=value, threshold=LEVEL,
        evidence=evidence, accumulated=accumulate(before, evidence), p_value=p_value, rows=rows,
        groups=rows, meaning=meaning, exemplars=exemplars, weight=SUPPORTING,
    )  # fmt: skip
