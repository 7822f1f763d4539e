"""The mix of classes in a window, from calibrated probabilities alone.

A mix that changes (one thing today, another tomorrow; day and night) moves every other number, and
is no drift of the images. It is estimated here, so that tests of images can weigh the reference
by it, and it has a signal of its own, which asks for a change that lasts.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.watching.evidence import accumulate, from_p_value
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window

ITERATIONS = 40  # of expectation maximisation
DAYS_NEEDED = 7  # before a day can be told from the workspace's own usual ones
DAYS_REMEMBERED = 60
MIX_NAME, MIX_WEIGHT = "class-mix", 0.25


def label_shares(outputs: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Row by row the share of each class: the label where it is known, else the probabilities."""
    shares = np.asarray(outputs, np.float64).copy()
    if labels is not None:
        known = (labels >= 0) & (labels < outputs.shape[1])
        shares[known] = np.eye(outputs.shape[1])[labels[known]]
    return shares


def class_biases(outputs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Factors of the probabilities after which their mean is that of the reference's labels."""
    wanted = shares.mean(axis=0)
    factors = np.ones(outputs.shape[1])
    for _ in range(20):
        means = _normalised(outputs * factors).mean(axis=0)
        factors *= np.where(wanted > 0, wanted / np.maximum(means, 1e-9), 0.0)
        factors /= max(factors.max(), 1e-300)
    return factors


def class_mix(outputs: np.ndarray, base: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The shares of the classes in the window, by maximum likelihood.

    `outputs` are probabilities under the shares `base`; a class without any there gets none.
    """
    ratios = outputs / np.maximum(base, 1e-12) * (base > 0)
    ratios /= np.maximum(ratios.max(axis=1, keepdims=True), 1e-300)
    weights = weights / weights.sum()
    mix = base / base.sum()
    for _ in range(ITERATIONS):
        likelihood = ratios @ mix
        update = mix * ((weights / np.maximum(likelihood, 1e-300)) @ ratios)
        update /= max(update.sum(), 1e-300)
        if np.abs(update - mix).sum() < 1e-4:
            return np.asarray(update)
        mix = update
    return np.asarray(mix)


def mix_signal(
    window: Window,
    mix: np.ndarray,
    base: np.ndarray,
    state: Mapping[str, Any],
    before: float,
    *,
    policy: WatchPolicy,
    rng: np.random.Generator,
) -> tuple[Signal, dict[str, Any]]:
    """Whether the mix has changed for days beyond what days usually differ by, and its state.

    `before` is what the signal has accumulated.
    """
    hours, total, days = state.get("hours", 0.0), state.get("total"), state.get("days", [])
    total = np.asarray(mix if total is None or len(total) != len(mix) else total + mix)
    hours, evidence, p_value = hours + policy.period_hours, 0.0, None
    if hours >= 24:
        day = total / total.sum()
        usual = np.mean(days, axis=0) if days else base
        distance = _distance(day, usual)
        if len(days) >= DAYS_NEEDED:
            p_value = _rank(distance, days, rng)
            evidence = from_p_value(p_value)
        days = [*days, np.round(day, 5).tolist()][-DAYS_REMEMBERED:]
        hours, total = 0.0, None
    accumulated = accumulate(before, evidence) if evidence else before
    limit = float(np.log(policy.checks_planned / policy.alarms_per_quarter))
    drift = accumulated >= limit
    unsure = len(days) < DAYS_NEEDED
    most = np.argsort(-np.abs(mix - base), kind="stable")[:10]
    signal = Signal(
        name=MIX_NAME,
        family=Family.OUTPUTS,
        outcome=Shift.DRIFT if drift else Shift.UNKNOWN if unsure else Shift.NONE,
        value=round(_distance(mix, base), 4),
        threshold=limit,
        evidence=evidence,
        accumulated=accumulated,
        p_value=p_value,
        rows=len(window),
        groups=len(np.unique(window.groups)),
        meaning=_meaning(mix, base, len(days)),
        weight=MIX_WEIGHT,
        detail={f"class {number}": round(float(mix[number]), 4) for number in most},
    )
    rounded = None if total is None else np.round(total, 5).tolist()
    return signal, {"hours": hours, "total": rounded, "days": days}


def _meaning(mix: np.ndarray, base: np.ndarray, days: int) -> str:
    moved = int(np.abs(mix - base).argmax())
    words = (
        f"{_distance(mix, base):.0%} of the images are of other classes than in the reference; "
        f"most changed is class {moved}, {base[moved]:.0%} there and {mix[moved]:.0%} here"
    )
    if days < DAYS_NEEDED:
        return f"{words}; {days} whole days were watched, {DAYS_NEEDED} tell what is usual"
    return words


def _rank(distance: float, days: list[list[float]], rng: np.random.Generator) -> float:
    """The share of days that lie as far from the others as this one from all of them."""
    table = np.array(days)
    others = (table.sum(axis=0) - table) / max(len(table) - 1, 1)
    usual = np.abs(table - others).sum(axis=1) / 2
    above, equal = int((usual > distance).sum()), int((usual == distance).sum())
    return float((above + rng.random() * (equal + 1)) / (len(days) + 1))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).sum() / 2)


def _normalised(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-300))
