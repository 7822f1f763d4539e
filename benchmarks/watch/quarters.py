"""False alarms in quarters of clean traffic of every kind."""

import argparse
import time

from benchmarks.watch.features import Pool
from benchmarks.watch.traffic import KINDS, Life, checks


def measure(pool: Pool, given: argparse.Namespace) -> dict[str, list[int]]:
    """The alarms of each quarter, by the kind of its traffic; printed as they come."""
    alarms: dict[str, list[int]] = {kind: [] for kind in KINDS}
    rows = min(200, len(pool.frames) // 2)
    reference = min(1000, len(pool.clean) // 2)
    first = 1000 if given.use == "report" else 0
    for number in range(given.lives):
        for kind in KINDS:
            began = time.process_time()
            life = Life(pool, kind, first + number, rows=rows, reference=reference)
            windows = (life.window() for _ in range(given.hours))
            alarms[kind].append(sum(alarm for alarm, _ in checks(life, windows)))
            seconds = time.process_time() - began
            print(f"  {kind:14} {alarms[kind]}  {seconds:.0f} s", flush=True)
    counts = [count for each in alarms.values() for count in each]
    print(f"  {len(counts)} quarters: {sum(counts) / len(counts):.2f} alarms a quarter in mean, "
          f"{max(counts)} at most")  # fmt: skip
    return alarms
