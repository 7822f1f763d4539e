"""MMD by one matrix product against Alibi Detect's, on the same permutations."""

import argparse
import time

import numpy as np

from benchmarks.watch.features import Pool
from models.watching import alibi
from models.watching.mmd import mmd_test

REFERENCE, WINDOW, PERMUTATIONS, WIDTH = 5000, 1000, 100, 128


def measure(pool: Pool, given: argparse.Namespace) -> None:
    """Print processor seconds and p-values of both; the rows of the pool are drawn with noise."""
    rng = np.random.default_rng(0)
    rows = pool.clean.embeddings[:, :WIDTH]
    scale = REFERENCE if given.images is None else given.images
    past, new = (
        (rows[rng.choice(len(rows), size)] + rng.normal(size=(size, rows.shape[1]))).astype("f")
        for size in (scale, max(scale * WINDOW // REFERENCE, 10))
    )
    started = time.process_time()
    one = mmd_test(past, new, permutations=PERMUTATIONS, rng=rng)
    own, started = time.process_time() - started, time.process_time()
    p_value, squared = alibi.mmd_test(past, new, permutations=PERMUTATIONS, seed=0)
    theirs = time.process_time() - started
    print(f"{len(past):,} x {len(new):,} rows, {PERMUTATIONS} permutations")
    print(f"one matrix product: {own:.2f} s, p {one.p_value:.2f}, squared {one.squared:.2e}")
    print(f"Alibi Detect: {theirs:.2f} s, p {p_value:.2f}, squared {squared:.2e}")
    print(f"{theirs / own:.0f} times as long", flush=True)
