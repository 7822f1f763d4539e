"""What a check of 1,000 rows costs after the forward pass, and what its state takes."""

import argparse
import json
import time
from typing import Any

from benchmarks.watch.features import Pool
from benchmarks.watch.traffic import POLICY, Life
from models.watching.groups import groups_of
from models.watching.martingale import martingale
from models.watching.scores import fit_scores


def measure(pool: Pool, given: argparse.Namespace) -> dict[str, float]:
    """Processor milliseconds of groups, fit and test, and bytes of state."""
    rows, reference = min(1000, len(pool.clean) // 2), min(1000, len(pool.clean) // 2)
    life = Life(pool, "iid", 77, rows=rows, reference=reference)
    windows = [life.window() for _ in range(5 if given.images is None else 2)]
    state: dict[str, Any] = {}
    _, state = martingale(life.reference, windows[0], state, policy=POLICY, rng=life.rng)
    began = time.process_time()
    for window in windows:
        _, state = martingale(life.reference, window, state, policy=POLICY, rng=life.rng)
    test = (time.process_time() - began) / len(windows)
    began = time.process_time()
    groups_of(life.reference.embeddings, windows[0].embeddings)
    groups = time.process_time() - began
    began = time.process_time()
    fit_scores(life.reference)
    fit = time.process_time() - began
    size = len(json.dumps(state))
    print(f"  {rows} rows: test {1e3 * test:.0f} ms, groups {1e3 * groups:.0f} ms, fit of the "
          f"reference {1e3 * fit:.0f} ms; state {size:,} bytes")  # fmt: skip
    return {"test": test, "groups": groups, "fit": fit, "state": float(size)}
