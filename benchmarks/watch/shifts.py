"""Twelve mild shifts: the share seen within 48 hourly windows, the delay, and what peers see."""

import argparse

import numpy as np

from benchmarks.watch.features import SHIFTS, Pool
from benchmarks.watch.peers import PEERS, Peer, accumulated
from benchmarks.watch.traffic import POLICY, Life, checks
from models.watching.evidence import combine
from models.watching.signals import Window

CLEAN_HOURS, WITHIN = 24, 48
LEAST_CLEAN = 300  # windows that thresholds rest on
OURS, CUSUM = "accumulating test", "e-CUSUM of three views"
SAME_RATE = "accumulating test at the peers' rate"
NEVER = 10**6
Course = dict[str, list[float]]
Peers = dict[str, Peer]


def measure(pool: Pool, given: argparse.Namespace) -> dict[str, float]:
    """The share seen by each rule, in mean over the shifts; a table of delays is printed."""
    first = 5000 if given.use == "report" else 4000
    thresholds = _thresholds(pool, given, first)
    within = min(WITHIN, given.hours)
    delays: dict[str, list[float]] = {}
    for shift in SHIFTS:
        for number in range(given.lives):
            found = _delays(pool, shift, first + number, thresholds, within, _peers(given))
            for rule, delay in found.items():
                delays.setdefault(rule, []).append(delay)
        words = [
            f"{rule} {np.mean(np.array(each[-given.lives :]) <= within):.2f}"
            for rule, each in delays.items()
        ]
        ours = np.median(delays[OURS][-given.lives :])
        print(f"  {shift:18} {', '.join(words)}; median {ours:.0f} h", flush=True)
    shares = {rule: float(np.mean(np.array(each) <= within)) for rule, each in delays.items()}
    for rule, share in shares.items():
        seen = [delay for delay in delays[rule] if delay <= within]
        delay = np.median(seen) if seen else np.nan
        print(f"  {rule:24} sees {share:.2f}, median delay of those {delay:.0f} h; of all "
              f"{min(np.median(delays[rule]), 999):.0f} h")  # fmt: skip
    return shares


def _peers(given: argparse.Namespace) -> Peers:
    """The peers that were asked for; the CUSUM needs its p-values."""
    return {
        name: peer for name, peer in PEERS.items() if name in (*given.peers, "KS of three views")
    }


def _life(pool: Pool, seed: int) -> Life:
    rows, reference = min(200, len(pool.clean) // 4), min(1000, len(pool.clean) // 2)
    return Life(pool, "iid", seed, rows=rows, reference=reference)


def _thresholds(pool: Pool, given: argparse.Namespace, first: int) -> dict[str, float]:
    """The largest value of each rule in clean windows: all have about one false alarm in as many.

    The accumulating test has its own threshold too, which is for far fewer.
    """
    peers = _peers(given)
    values: Course = {name: [] for name in (*peers, CUSUM, SAME_RATE)}
    hours = CLEAN_HOURS + WITHIN if given.images is None else 3
    lives = -(-LEAST_CLEAN // hours) if given.images is None else 2 * given.lives
    for number in range(lives):
        life = _life(pool, first + 500 + number)
        windows = [life.window() for _ in range(hours)]
        for name, peer in peers.items():
            values[name] += [peer(life.reference, window) for window in windows]
        values[CUSUM] += accumulated(values["KS of three views"][-hours:])
        values[SAME_RATE] += _evidence(life, windows)
    often = 2160 / len(values[CUSUM])
    words = f"the largest of {len(values[CUSUM])} clean windows"
    print(f"  peers alarm above {words}, so {often:.0f} times in a clean quarter", flush=True)
    return {name: max(each) for name, each in values.items()}


def _evidence(life: Life, windows: list[Window]) -> list[float]:
    """What the accumulating test has gathered after each window."""
    return [
        combine(one["signals"], POLICY, 1).log_evidence for _, one in checks(life, iter(windows))
    ]


def _delays(
    pool: Pool, shift: str, seed: int, thresholds: dict[str, float], within: int, peers: Peers
) -> dict[str, float]:
    """The hours until each rule alarms after the shift began; NEVER when it does not."""
    life = _life(pool, seed)
    hours = CLEAN_HOURS + within
    windows = [life.window(shift if hour >= CLEAN_HOURS else None) for hour in range(hours)]
    gathered = np.array(_evidence(life, windows))
    delays = {
        OURS: _first(np.flatnonzero(gathered >= np.log(POLICY.checks_planned)), CLEAN_HOURS),
        SAME_RATE: _first(np.flatnonzero(gathered > thresholds[SAME_RATE]), CLEAN_HOURS),
    }
    course: Course = {}
    for name, peer in peers.items():
        after = [peer(life.reference, window) for window in windows[CLEAN_HOURS:]]
        course[name] = after
        delays[name] = _first(np.flatnonzero(np.array(after) > thresholds[name]), 0)
    levels = np.array(accumulated(course["KS of three views"]))
    delays[CUSUM] = _first(np.flatnonzero(levels > thresholds[CUSUM]), 0)
    return delays


def _first(alarms: np.ndarray, since: int) -> float:
    later = alarms[alarms >= since]
    return float(later[0] - since + 1) if len(later) else float(NEVER)
