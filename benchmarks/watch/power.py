"""Power of a single window of 50, 100 and 1,000 rows at a false-alarm rate of 5 %."""

import argparse

import numpy as np

from benchmarks.watch.features import SHIFTS, Pool
from benchmarks.watch.peers import bbsds
from benchmarks.watch.traffic import POLICY, Life
from models.watching.martingale import martingale
from models.watching.signals import Window

SIZES = (50, 100, 1000)
OURS, PEER = "accumulating test", "BBSDs KS"


def measure(pool: Pool, given: argparse.Namespace) -> dict[str, list[float]]:
    """The share of shifted windows beyond 95 % of the clean ones, in mean over shifts.

    Each reference is compared with twelve clean windows and with one of each shift.
    """
    powers: dict[str, list[float]] = {OURS: [], PEER: []}
    sizes = SIZES if given.images is None else (given.images // 4,)
    for rows in sizes:
        clean, shifted = _values(pool, rows, given)
        for at, rule in enumerate(powers):
            limit = np.quantile(clean[:, at], 0.95)
            powers[rule].append(float((shifted[:, at] > limit).mean()))
        ours, peer = powers[OURS][-1], powers[PEER][-1]
        print(
            f"  {rows:5} rows, {len(clean)} clean windows and as many shifted: {OURS} {ours:.2f}, "
            f"{PEER} {peer:.2f} ({ours - peer:+.2f})",
            flush=True,
        )
    return powers


def _values(pool: Pool, rows: int, given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The evidence of a first window, and the peer's number, of clean and of shifted windows."""
    clean, shifted = list[list[float]](), list[list[float]]()
    first = 9000 if given.use == "report" else 8000
    for number in range(given.lives):
        reference = min(1000, len(pool.clean) // 2)
        life = Life(pool, "iid", first + number, rows=rows, reference=reference)
        for shift in SHIFTS:
            for values, window in ((clean, life.window()), (shifted, life.window(shift))):
                values.append([_evidence(life, window), bbsds(life.reference, window)])
    return np.array(clean), np.array(shifted)


def _evidence(life: Life, window: Window) -> float:
    signals, _ = martingale(life.reference, window, {}, policy=POLICY, rng=life.rng)
    return signals[0].evidence
