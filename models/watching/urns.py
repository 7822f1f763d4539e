"""Polya urns: the probability of the counts of a window, under clean traffic and under bets.

With concentration k and centre q, the counts b of a window have the Dirichlet-multinomial
probability of q * k balls in the urn. All arrays are (scores, cells), or (bets, scores, cells).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.watching.evidence import MOST
from models.watching.scores import Stratum

SPREADS = (30.0, 150.0, 800.0)  # balls in the urn of a bet on any other shape
COARSE = (2.0, 12.0)  # balls in the urn of a bet on a few cells, whichever: a gross shift
TILTS = (-0.7, -0.35, 0.35, 0.7)  # of the logarithm over the ranks: a bet on a shift
TAILS = ((0.06, 0.0), (0.0, 0.06), (0.06, 0.06))  # of the ranks, low and high: a bet on outliers
TAIL_SHARE, BET_SPREAD = 0.15, 500.0
LEARNED_SPREADS = (100.0, 1000.0)
OWN = (3.0, 15.0, 60.0)  # rows that the reference is worth to a bet on traffic of its own
ALIKE = 8.0  # rows of all classes together in what is said of one: most scores hardly differ
PRIOR = 40.0  # rows of clean traffic in what a bet has learned
STAYS = {"past": 1.0, "slow": 0.97, "fast": 0.8}  # of each table after a window
PAST = 20_000.0  # rows of the past; older ones fade
EFFECT_WINDOWS = 100.0  # in the design effect; older ones fade
PRIOR_WINDOWS, PRIOR_CORRELATION = 6.0, 0.002  # in the design effect, before the first window
# What is not known of classes explains so much at most: a model that is lost calls all images one
# class, of which a small reference has few rows, and no shift would be seen.
MOST_CORRELATION = 0.05
MOST_EFFECT = 10.0  # of one window, in the design effect
TABLES = tuple(name + due for name in STAYS for due in ("", "_due"))


@dataclass(frozen=True)
class Urn:
    """What the reference says of the next counts."""

    centre: np.ndarray  # (scores, cells)
    size: np.ndarray  # (scores,): balls; 0 where the reference says nothing
    correlation: float = 0.0  # of the rows of a window, by classes of which too little is known


def urn_of(strata: Mapping[str, Stratum], mix: np.ndarray, known: float) -> Urn:
    """The reference weighed by the mix of classes, with a share of the known drift."""
    urn = _weighed(strata["base"], mix)
    if known == 0.0:
        return urn
    drifted = _weighed(strata["known"], mix)
    correlation = max(urn.correlation, drifted.correlation)
    centre = (1 - known) * urn.centre + known * drifted.centre
    spread = (1 - known) ** 2 / np.maximum(urn.size, 1e-9)
    spread += known**2 / np.maximum(drifted.size, 1e-9)
    return Urn(
        centre, np.where(np.minimum(urn.size, drifted.size) > 0, 1 / spread, 0.0), correlation
    )


def _weighed(stratum: Stratum, mix: np.ndarray) -> Urn:
    rows = np.maximum(stratum.rows, 1e-9)
    share = np.where(stratum.rows > 0.5, mix[:, None], 0.0)
    size = 1 / np.maximum((share**2 / rows).sum(axis=0), 1e-9) * share.sum(axis=0) ** 2
    size = np.where(share.sum(axis=0) > 1e-6, np.minimum(size, stratum.rows.sum(axis=0)), 0.0)
    shrunk = (stratum.counts + ALIKE * stratum.pooled) / (rows + ALIKE)[..., None]
    summed = np.einsum("cs,csk->sk", share, shrunk)
    summed /= np.maximum(summed.sum(axis=1, keepdims=True), 1e-9)
    centre = (size[:, None] * summed + stratum.ends) / (size[:, None] + 2)
    rows = stratum.rows.max(axis=1)
    changed = np.abs(mix - rows / max(rows.sum(), 1e-9)) * ALIKE / (rows + ALIKE)
    correlation = min(float(changed.sum() / 2) ** 2, MOST_CORRELATION)
    return Urn(centre, np.where(stratum.rows.sum(axis=0) > 0, size + 2, 0.0), correlation)


def play(
    urn: Urn,
    counts: np.ndarray,
    learned: Mapping[str, Any] | None,
    levels: Any,
    tilts: Sequence[float] = TILTS,
) -> tuple[np.ndarray, dict[str, Any]]:
    """What each bet has accumulated after a window (bets, scores; NaN where nothing is known).

    Also what the bets have learned then, as JSON; `learned` and `levels` are those before.
    `tilts`: the shifts that are bet on.
    """
    tables = _tables(learned, counts.shape)
    windows = float(learned["windows"]) if learned else 0.0
    correlation = _array(learned, "correlation", counts.shape[:1])
    rows = counts.sum(axis=1)
    expected = urn.size[:, None] * urn.centre
    ratio = (expected + tables["past"]) / np.maximum(expected + tables["past_due"], 1e-9)
    centre = urn.centre * ratio
    centre /= np.maximum(centre.sum(axis=1, keepdims=True), 1e-12)
    usual = (PRIOR_WINDOWS * PRIOR_CORRELATION + windows * correlation) / (PRIOR_WINDOWS + windows)
    effect = 1 + np.maximum(rows - 1, 0) * (np.maximum(usual, 0) + urn.correlation)
    size = np.maximum(urn.size + tables["past"].sum(axis=1) / effect, 1e-6)
    thinned = counts / effect[:, None]
    clean = _log_probability(thinned, centre[None], size[None])[0]
    fixed = _fixed_bets(thinned, centre, size, tilts)
    anything = [np.where(centre > 0, 1.0, 0.0)] * len(COARSE)
    gross = _bets(thinned, anything, COARSE, size)
    taught = _learned_bets(thinned, urn.centre, centre, size, tables)
    leaning = _leaning_bets(thinned, urn.centre, centre, size, tables)
    own, own_centre, own_size = _own_bets(thinned, urn.centre, size, tables, effect)
    evidence = np.clip(np.stack([fixed, taught, leaning, gross, own]) - clean, -MOST, MOST)
    start = np.zeros_like(evidence)
    if levels is not None:  # of fewer bets, where an earlier version wrote them
        start[: len(levels)] = np.nan_to_num(np.array(levels, float))
    after = np.minimum(evidence + np.maximum(start, 0.0), MOST)
    after[:, urn.size <= 0] = np.nan

    begun = tables["past"].any(axis=1)
    measured = np.where(begun, _correlation(counts, own_centre, own_size), PRIOR_CORRELATION)
    count = min(windows + 1, EFFECT_WINDOWS)
    correlation = correlation + (measured - correlation) / count
    tables = _taught(tables, counts, urn.centre)
    new = {name: np.round(table, 2).tolist() for name, table in tables.items()}
    return after, {**new, "windows": count, "correlation": np.round(correlation, 5).tolist()}


def _fixed_bets(
    counts: np.ndarray, centre: np.ndarray, size: np.ndarray, tilts: Sequence[float]
) -> np.ndarray:
    """The mean of the bets that are the same in every window: three shapes of one weight each."""
    ranks = np.cumsum(centre, axis=1) - centre / 2
    shifted = [centre * np.exp(tilt * np.sqrt(12) * (ranks - 0.5)) for tilt in tilts]
    heavy = [_heavy(centre, ranks, *tail) for tail in TAILS]
    shapes = [
        _bets(counts, [centre] * len(SPREADS), SPREADS, size),
        _bets(counts, shifted, (BET_SPREAD,) * len(shifted), size),
        _bets(counts, heavy, (BET_SPREAD,) * len(heavy), size),
    ]
    return _log_mean(np.stack(shapes))


def _heavy(centre: np.ndarray, ranks: np.ndarray, low: float, high: float) -> np.ndarray:
    inside = (ranks < low) | (ranks > 1 - high)
    weight = centre * inside
    total = weight.sum(axis=1, keepdims=True)
    return np.where(total > 0, (1 - TAIL_SHARE) * centre + TAIL_SHARE * weight / np.maximum(
        total, 1e-12), centre)  # fmt: skip


def _learned_bets(
    counts: np.ndarray,
    urn: np.ndarray,
    centre: np.ndarray,
    size: np.ndarray,
    tables: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The mean of the bets that the last windows go on."""
    centres, spreads = [], list[float]()
    for name in ("slow", "fast"):
        ratio = (tables[name] + PRIOR * centre) / (tables[f"{name}_due"] + PRIOR * urn + 1e-9)
        for spread in LEARNED_SPREADS:
            centres.append(urn * ratio)
            spreads.append(spread)
    return _bets(counts, centres, spreads, size)


def _leaning_bets(
    counts: np.ndarray,
    urn: np.ndarray,
    centre: np.ndarray,
    size: np.ndarray,
    tables: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The mean of the bets that go on the mean and the spread of the last windows alone.

    Two numbers are learned sooner than a number for each cell.
    """
    slopes = _slopes(centre)
    centres = []
    for name in ("slow", "fast"):
        rows = tables[name].sum(axis=1, keepdims=True)
        expected = rows * centre + (tables[f"{name}_due"] - rows * urn) * centre / np.maximum(
            urn, 1e-9
        )
        excess = ((tables[name] - expected) * slopes).sum(axis=2)
        lean = np.clip(excess / (rows[:, 0] + PRIOR), -1, 1)[..., None]
        centres.append(centre * np.exp((lean * slopes).sum(axis=0)))
    return _bets(counts, centres, (BET_SPREAD,) * len(centres), size)


def _own_bets(
    counts: np.ndarray,
    urn: np.ndarray,
    size: np.ndarray,
    tables: Mapping[str, np.ndarray],
    effect: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of the bets that traffic is an urn of its own, of which its past tells most.

    Their evidence over windows is that of one comparison of all traffic with the reference.
    """
    past, due = (tables[name] / effect[:, None] for name in ("past", "past_due"))
    rows = np.array(OWN)[:, None, None]
    centres = urn * (rows * urn + past) / np.maximum(rows * urn + due, 1e-9)
    centres /= np.maximum(centres.sum(axis=2, keepdims=True), 1e-12)
    balls = rows[..., 0] + past.sum(axis=1)
    slopes = _slopes(urn)
    excess = ((past - due) * slopes).sum(axis=2)
    lean = np.clip(excess / (past.sum(axis=1) + PRIOR), -1, 1)[..., None]
    leaning = _bets(counts, [urn * np.exp((lean * slopes).sum(axis=0))], (BET_SPREAD,), size)
    each = _log_probability(counts, centres, balls)
    return _log_mean(np.vstack([each, leaning[None]])), centres[0], balls[0]


def _slopes(centre: np.ndarray) -> np.ndarray:
    """Orthogonal directions over the ranks: mean and spread."""
    ranks = np.cumsum(centre, axis=1) - centre / 2 - 0.5
    return np.stack([np.sqrt(12) * ranks, np.sqrt(180) * (ranks**2 - 1 / 12)])


def _bets(
    counts: np.ndarray, centres: Sequence[np.ndarray], spreads: Sequence[float], size: np.ndarray
) -> np.ndarray:
    """The mean probability of the counts under urns that are as uncertain as the reference too."""
    centre = np.stack(centres)
    centre /= np.maximum(centre.sum(axis=2, keepdims=True), 1e-12)
    balls = 1 / (1 / np.array(spreads)[:, None] + 1 / size)
    return _log_mean(_log_probability(counts, centre, balls))


def _log_probability(counts: np.ndarray, centre: np.ndarray, balls: np.ndarray) -> np.ndarray:
    """The logarithm of the urn's probability of the counts, less what depends on counts alone."""
    from scipy.special import gammaln

    rows = counts.sum(axis=1)
    there = np.maximum(balls[..., None] * centre, 1e-9)
    each = gammaln(there + counts) - gammaln(there)
    return np.asarray(gammaln(balls) - gammaln(balls + rows) + each.sum(axis=2))


def _correlation(counts: np.ndarray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """By how much more than an urn's the counts of a window vary, for a row of it."""
    rows = counts.sum(axis=1)
    due = rows[:, None] * centre
    enough = due > 1
    each = np.where(enough, (counts - due) ** 2 / np.maximum(due, 1), 0.0)
    spread = each.sum(axis=1) / np.maximum(enough.sum(axis=1) - 1, 1)
    ratio = np.minimum(spread / (1 + (rows - 1) / (size + 1)), MOST_EFFECT)
    return np.asarray(np.where(rows > 1, (ratio - 1) / np.maximum(rows - 1, 1), 0.0))


def _taught(
    tables: Mapping[str, np.ndarray], counts: np.ndarray, centre: np.ndarray
) -> dict[str, np.ndarray]:
    """The tables after a window: the past has all of it, what a bet has learned fades."""
    due = counts.sum(axis=1, keepdims=True) * centre
    new = {}
    for name, stays in STAYS.items():
        new[name] = stays * tables[name] + counts
        new[f"{name}_due"] = stays * tables[f"{name}_due"] + due
    fade = np.minimum(1, PAST / np.maximum(new["past"].sum(axis=1, keepdims=True), 1e-9))
    return {**new, "past": new["past"] * fade, "past_due": new["past_due"] * fade}


def _tables(learned: Mapping[str, Any] | None, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: _array(learned, name, shape) for name in TABLES}


def _array(learned: Mapping[str, Any] | None, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(learned[name], np.float64) if learned else np.zeros(shape)


def _log_mean(logs: np.ndarray) -> np.ndarray:
    """The logarithm of the mean over the first axis."""
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - np.log(len(logs)))
