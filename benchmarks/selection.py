"""How fast is choosing, in how much memory, beside others and beside the limit?

    python benchmarks/selection.py [--sizes 10000 100000 1000000] [--only k_center badge ...]
        [--embeddings FILE.npy] [--limit 300] [--memory 6] [--rounds 1] [--json] [--picture FILE]

Every strategy and every peer chooses 100 of 10,000 and 1,000 of more rows of 512 numbers, 100 more
being labelled, in a process of its own on one thread, with a limit on seconds and on memory. The
clock starts when the embeddings are in memory and everything is imported; `extra` is the highest
memory above that. A peer runs right after the strategy that it is compared with, and again in every
round; one that does not finish is not tried on more rows. Two kinds of embeddings: `clustered` (a
mixture of 200 unequal clusters with a falling spectrum) and `isotropic` (one Gaussian on a sphere,
where no row is near another and bounds help least), or one's own file: an array, or an .npz with
`embeddings` and perhaps `probs`.

The limits: `one read` takes the product of the matrix with a vector, `one product` that with as
many vectors as are chosen, and `naive greedy` reads the matrix once for each row chosen (its first
20 picks are measured and the rest computed from them).

Peers, for whom wants them: `pip install scikit-activeml modAL-python`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labeling.strategies import STRATEGIES
from labeling.strategies.pool import Pool

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
WIDTH, CLASSES, CLUSTERS, LABELLED, LOOKS = 512, 10, 200, 100, 5
BLOCK = 8192
MEASURED = 20  # picks of the naive greedy
ANEW = 3  # of the naive bait
PEERS = {  # ours -> others that do the same
    "margin": ("scikit-activeml UncertaintySampling", "modAL margin_sampling"),
    "k_center": ("scikit-activeml CoreSet", "naive greedy"),
    "badge": ("scikit-activeml Badge",),
    "typiclust": ("scikit-activeml TypiClust",),
    "prob_cover": ("scikit-activeml ProbCover",),
    "max_herding": ("scikit-activeml MaxHerding",),
    "bait": ("naive bait",),
}
STOPS = ("out of time", "out of memory")  # not tried on more rows after these
MODULES = {"scikit-activeml": "skactiveml", "modAL": "modAL"}


def main() -> None:
    """Print the tables, draw the picture; or be one of the processes that are measured."""
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(**json.loads(sys.argv[2]))))
        return
    given = arguments()
    rows = []
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for row in runs(given, Path(folder)):
            rows.append(row)
            if given.json:
                print(json.dumps(row), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}\n")
    table = pd.DataFrame(rows)
    print_tables(table)
    print_ratios(table)
    draw(table, given.picture)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", metavar="strategy", help=", ".join(STRATEGIES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--embeddings", type=Path, help="your own, .npy or .npz")
    parser.add_argument("--limit", type=float, default=300, help="seconds for each run")
    parser.add_argument("--memory", type=float, default=6, help="GB for each run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run as well")
    parser.add_argument("--picture", type=Path, default=Path("selection.png"))
    given = parser.parse_args()
    if unknown := sorted(set(given.only or []) - set(STRATEGIES)):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(STRATEGIES)}")
    return given


def runs(given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The figures of each run; ours and the others take turns."""
    asked = given.only or list(STRATEGIES)
    order = [name for ours in asked for name in (ours, *PEERS.get(ours, ()))]
    too_slow = set()
    for kind, file, sizes in sources(given, folder):
        for size in sizes:
            where = {"embeddings": kind, "rows": size, "batch": min(1000, max(size // 100, 1))}
            for turn in range(given.rounds):
                for name in ["one read", "one product", *order]:
                    found: dict[str, Any] = {"status": "not tried"}
                    if (kind, name) not in too_slow:
                        found = run(name, file, where, given)
                    if found["status"] in STOPS or found.get("seconds", 0) > given.limit:
                        too_slow.add((kind, name))
                    yield {"name": name, **where, "round": turn, **found}


def run(name: str, file: Path, where: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """One measurement in a process of its own, within the limits."""
    package = MODULES.get(name.split()[0])
    if package and not find_spec(package):
        return {"status": "not installed"}
    asked = {"name": name, "file": str(file), "rows": where["rows"], "batch": where["batch"]}
    command = [sys.executable, __file__, "measure", json.dumps(asked | {"memory": given.memory})]
    try:
        done = subprocess.run(
            command,
            env=os.environ | ONE_THREAD,
            capture_output=True,
            text=True,
            timeout=given.limit + 60,  # the clock of the run itself starts later
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": "out of time"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        memory = "MemoryError" in last or "allocate" in last or done.returncode == -9
        return {"status": "out of memory" if memory else last}
    return json.loads(done.stdout.splitlines()[-1]) | {"status": "done"}


def measure(name: str, file: str, rows: int, batch: int, memory: float) -> dict[str, Any]:
    """Seconds, processor seconds, MB above what was there before, and the rows chosen."""
    resource.setrlimit(resource.RLIMIT_AS, (int(memory * 2**30), -1))
    choose = chooser(name)
    ensemble = name in STRATEGIES and "ensemble" in STRATEGIES[name].needs
    choose(pool_of(file, 1000, ensemble=ensemble), 5)  # imports, first calls
    pool = pool_of(file, rows, ensemble=ensemble)
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is forgotten
    before, cpu, clock = memory_of("VmRSS"), time.process_time(), time.perf_counter()
    chosen, share = choose(pool, batch)
    seconds, busy = time.perf_counter() - clock, time.process_time() - cpu
    return {
        "seconds": round(seconds * share, 4),
        "processor": round(busy * share, 4),
        "extra": round(memory_of("VmHWM") - before),
        "load": round(os.getloadavg()[0], 1),
        "chosen": chosen,
    }


def memory_of(what: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most. (ru_maxrss would begin with the parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


Chooser = Callable[[Pool, int], tuple[list[int], float]]


def chooser(name: str) -> Chooser:
    """What gives the rows it chooses, and the work of the whole as a multiple of what was done."""
    if name in STRATEGIES:
        choose = STRATEGIES[name].choose
        rng = np.random.default_rng(0)
        return lambda pool, batch: (choose(pool, batch, rng).rows.tolist(), 1)
    return {
        "one read": one_read,
        "one product": one_product,
        "naive greedy": naive_greedy,
        "naive bait": naive_bait,
        "modAL margin_sampling": modal_margin,
    }.get(name) or scikit_activeml(name.split()[1])


def one_read(pool: Pool, batch: int) -> tuple[list[int], float]:
    """The matrix read once."""
    assert pool.embeddings is not None
    pool.embeddings @ pool.embeddings[0]
    return [], 1


def one_product(pool: Pool, batch: int) -> tuple[list[int], float]:
    """Each row with as many others as are chosen."""
    assert pool.embeddings is not None
    others = pool.embeddings[:batch].T.copy()
    for start in range(0, len(pool), BLOCK):
        pool.embeddings[start : start + BLOCK] @ others
    return [], 1


def naive_greedy(pool: Pool, batch: int) -> tuple[list[int], float]:
    """k-center by its definition: all of a small pool, the first picks of a large one."""
    rows, labelled = pool.embeddings, pool.labelled
    assert rows is not None
    assert labelled is not None
    squares = np.einsum("ij,ij->i", rows, rows)
    apart = np.full(len(rows), np.inf, dtype=np.float32)
    chosen: list[int] = []
    picks = batch if len(rows) <= 10_000 else min(batch, MEASURED)
    for centre in labelled[: None if picks == batch else 1]:
        apart = np.minimum(apart, squares + (centre @ centre - 2 * (rows @ centre)))
    for _ in range(picks):
        row = int(apart.argmax())
        chosen.append(row)
        apart = np.minimum(apart, squares + (squares[row] - 2 * (rows @ rows[row])))
        apart[row] = -np.inf
    return (chosen, 1) if picks == batch else ([], batch / picks)


def naive_bait(pool: Pool, batch: int) -> tuple[list[int], float]:
    """BAIT with the inverse and every row's gain computed anew: the first picks."""
    rows, labelled, probs = pool.embeddings, pool.labelled, pool.probs
    assert rows is not None
    assert labelled is not None
    assert probs is not None
    doubts = (probs * (1 - probs)).mean(axis=1).astype(np.float32)
    parts = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
    wanted = np.zeros((rows.shape[1], rows.shape[1]), np.float32)
    for part in parts:
        wanted += rows[part].T @ (rows[part] * doubts[part, None]) / len(rows)
    known = 0.1 * np.eye(rows.shape[1]) + doubts.mean() * labelled.T @ labelled
    picks = min(batch, ANEW)
    for _ in range(picks):
        inverse = np.linalg.inv(known).astype(np.float32)
        gains = np.empty(len(rows), np.float32)
        for part in parts:
            moved = rows[part] @ inverse
            near = np.einsum("ij,ij->i", moved, rows[part])
            far = np.einsum("ij,ij->i", moved @ wanted, moved)
            gains[part] = doubts[part] * far / (1 + doubts[part] * near)
        best = int(gains.argmax())
        known += doubts[best] * np.outer(rows[best], rows[best])
    return [], batch / picks


def modal_margin(pool: Pool, batch: int) -> tuple[list[int], float]:
    """The peer modAL."""
    from modAL.models import ActiveLearner
    from modAL.uncertainty import margin_sampling

    class Known:
        """A classifier that has its answers already."""

        def fit(self, *_: Any) -> None:
            """Nothing to learn."""

        def predict_proba(self, rows: np.ndarray) -> np.ndarray | None:
            """The same as ours are given."""
            return pool.probs

    learner = ActiveLearner(Known(), query_strategy=margin_sampling)
    return np.asarray(learner.query(pool.embeddings, n_instances=batch)[0]).tolist(), 1


def scikit_activeml(name: str) -> Chooser:
    """A strategy of the peer scikit-activeml by the name of its class."""
    from skactiveml import pool as peers
    from skactiveml.base import SkactivemlClassifier

    class Known(SkactivemlClassifier):
        """A classifier that has its answers already."""

        def __init__(self, probs: Any = None, classes: Any = None) -> None:
            super().__init__(classes=classes)
            self.probs = probs

        def fit(self, *_: Any) -> "Known":
            """Nothing to learn."""
            self.classes_ = self.classes
            return self

        def predict_proba(self, rows: np.ndarray) -> np.ndarray:
            """The same as ours are given."""
            return self.probs[-len(rows) :]

    def choose(pool: Pool, batch: int) -> tuple[list[int], float]:
        rows, labels = whole(pool)
        more: dict[str, Any] = {}
        if name in ("Badge", "UncertaintySampling"):
            probs = np.concatenate([np.full((LABELLED, CLASSES), 1 / CLASSES), pool.probs])
            more = {"clf": Known(probs, np.arange(CLASSES)).fit(), "fit_clf": False}
        options: dict[str, dict[str, Any]] = {
            "Badge": {"clf_embedding_flag_name": None},
            "UncertaintySampling": {"method": "margin_sampling"},
        }
        strategy = getattr(peers, name)(random_state=0, **options.get(name, {}))
        chosen = strategy.query(X=rows, y=labels, batch_size=batch, **more)
        return (np.asarray(chosen) - LABELLED).tolist(), 1

    return choose


def whole(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """What is labelled and the pool as one array, without a copy, and the labels."""
    assert pool.embeddings is not None
    rows = pool.embeddings.base
    assert rows is not None
    labels = np.full(LABELLED + len(pool), np.nan)
    labels[:LABELLED] = pool.labels
    return rows, labels


def pool_of(file: str, rows: int, *, ensemble: bool = False) -> Pool:
    """So many rows of a file, the labelled before them; a linear model's probabilities."""
    source = np.load(file, mmap_mode="r")
    every = np.array(source[: rows + LABELLED])
    beside = Path(file).with_name("probs.npy")
    probs = np.load(beside)[: len(every)] if beside.exists() else guesses(every)
    rng = np.random.default_rng(0)
    members = rng.gamma(5, size=(LOOKS if ensemble else 0, rows, probs.shape[1])) * probs[LABELLED:]
    members /= members.sum(axis=2, keepdims=True)
    return Pool(
        probs=probs[LABELLED:].copy(),
        embeddings=every[LABELLED:],
        ensemble=members.astype(np.float32) if ensemble else None,
        labelled=every[:LABELLED],
        labels=probs[:LABELLED].argmax(axis=1),
    )


def guesses(rows: np.ndarray) -> np.ndarray:
    """Probabilities by a linear model drawn at random, most of them sure."""
    logits = rows @ np.random.default_rng(1).normal(size=(rows.shape[1], CLASSES)).astype("f4")
    logits *= 4 / logits.std()
    logits -= logits.max(axis=1, keepdims=True)
    probs = np.exp(logits)
    return probs / probs.sum(axis=1, keepdims=True)


def sources(given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, list[int]]]:
    """Name, file and sizes of each kind of embeddings."""
    if given.embeddings:
        loaded = np.load(given.embeddings, mmap_mode="r")
        if isinstance(loaded, np.lib.npyio.NpzFile):
            if "probs" in loaded:
                np.save(folder / "probs.npy", loaded["probs"])
            loaded = loaded["embeddings"]
        np.save(folder / "own.npy", loaded.astype(np.float32, copy=False))
        most = len(loaded) - LABELLED
        sizes = [size for size in given.sizes if size <= most]
        yield given.embeddings.stem, folder / "own.npy", sizes or [most]
        return
    for kind in given.kinds:
        file = folder / f"{kind}.npy"
        write(file, max(given.sizes) + LABELLED, KINDS[kind])
        yield kind, file, sorted(given.sizes)
        file.unlink()


def write(
    file: Path, rows: int, draw_rows: Callable[[np.random.Generator, int], np.ndarray]
) -> None:
    """Embeddings to a file, block by block."""
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(rows, WIDTH))
    for start in range(0, rows, BLOCK):
        rng = np.random.default_rng([0, start])
        out[start : start + BLOCK] = draw_rows(rng, min(BLOCK, rows - start))


def isotropic(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Every direction alike, every length one."""
    drawn = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@cache
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Middle, share and width of every cluster; and the directions, each as long as its spread."""
    rng = np.random.default_rng(2)
    spectrum = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.7
    turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)
    often = 0.3 + rng.pareto(1.5, size=CLUSTERS)
    widths = 0.6 * np.exp(0.3 * rng.standard_normal(CLUSTERS)).astype(np.float32)
    middles = rng.standard_normal((CLUSTERS, WIDTH), dtype=np.float32)
    directions = turn * (spectrum / np.linalg.norm(spectrum))[:, None]
    return middles, often / often.sum(), widths, directions


def clustered(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Clusters of unequal number and width; few directions hold most of the spread."""
    middles, shares, widths, directions = world()
    own = rng.choice(CLUSTERS, size=rows, p=shares)
    noise = rng.standard_normal((rows, WIDTH), dtype=np.float32) * widths[own, None]
    return (middles[own] + noise) @ directions


KINDS = {"clustered": clustered, "isotropic": isotropic}


def print_tables(table: pd.DataFrame) -> None:
    """The median of the rounds, by rows."""
    for kind, own in table.groupby("embeddings", sort=False):
        for what, column in (
            ("seconds", "seconds"),
            ("processor seconds", "processor"),
            ("extra memory, MB", "extra"),
        ):
            groups = own.groupby(["name", "rows"], sort=False)
            cells = pd.Series({key: shown(cell, column) for key, cell in groups})
            print(f"{what}, {kind}\n{cells.unstack(sort=False).to_string()}\n")


def shown(cell: pd.DataFrame, column: str) -> str:
    """A figure, or why there is none."""
    done = cell[cell["status"] == "done"]
    if not len(done):
        return str(cell["status"].iloc[0])[:24]
    value = done[column].median()
    return f"{value:.0f}" if column == "extra" else f"{value:.3f}"


def print_ratios(table: pd.DataFrame) -> None:
    """How many times faster than each peer, round by round, and whether the rows are the same."""
    done = table[table["status"] == "done"]
    for (kind, size), own in done.groupby(["embeddings", "rows"], sort=False):
        for ours, others in PEERS.items():
            for other in others:
                pairs = own[own["name"] == ours].merge(own[own["name"] == other], on="round")
                if not len(pairs):
                    continue
                times = (pairs["processor_y"] / pairs["processor_x"]).median()
                mine, theirs = pairs["chosen_x"].iloc[0], pairs["chosen_y"].iloc[0]
                same = len(set(mine) & set(theirs))
                also = f", {same} of {len(mine)} rows the same" if theirs else ""
                order = " in the same order" if mine == theirs else ""
                print(f"{kind}, {size:,}: {ours} {times:.1f} times {other}{also}{order}")


def draw(table: pd.DataFrame, path: Path) -> None:
    """Seconds by rows: ours solid, peers dashed, limits dotted."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    kinds = table["embeddings"].unique()
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(8 * len(kinds), 7), layout="constrained", squeeze=False
    )
    done = table[table["status"] == "done"]
    for axis, kind in zip(axes[0], kinds, strict=True):
        for name, own in done[done["embeddings"] == kind].groupby("name", sort=False):
            style = "o-" if name in STRATEGIES else "s--" if name.split()[0] in MODULES else "x:"
            medians = own.groupby("rows")["seconds"].median()
            axis.plot(medians.index, medians, style, label=name)
        axis.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds", title=str(kind))
        axis.legend(fontsize="small")
    figure.savefig(path)
    print(f"drawn in {path}")


if __name__ == "__main__":
    main()
