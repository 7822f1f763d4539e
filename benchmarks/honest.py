"""How far off are the figures a chosen batch gives of a model, and do their intervals hold?

    .venv/bin/python benchmarks/honest.py [--draws 2000] [--out honest.png]

A strategy takes the samples in most doubt, which are wrong oftener; the audit and a random arm are
drawn by chance. For each setting: the bias and the spread (standard deviation) of four estimates of
the accuracy over the pool, and how often their 95 % intervals hold it. "paper" is LURE with the
weights of Farquhar, Gal and Rainforth (2021) for the same draws. In the last settings each sample
has near-duplicates that leave the pool with it; "not shown" is where `hone budget` prints no LURE.
One line of JSON for each setting with --json; a minute on one core.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.intervals import mean_interval
from models.judging.lure import is_sequential_draw, lure_accuracy, naive_accuracy

# rows of the pool, size of the batch, audit samples in it, chance of the random arm, wrong share,
# near-duplicates in a group (1 where it is left out)
SETTINGS: list[tuple[Any, ...]] = [
    (20_000, 100, 10, 0.05, 0.10),  # the defaults
    (20_000, 100, 10, 0.05, 0.30),
    (20_000, 100, 10, 0.05, 0.02),
    (20_000, 100, 10, 0.05, 0.005),  # where nearly nothing is wrong
    (20_000, 50, 5, 0.05, 0.10),
    (20_000, 20, 2, 0.05, 0.10),  # where nearly nothing is drawn by chance
    (20_000, 500, 50, 0.05, 0.10),
    (20_000, 1000, 100, 0.05, 0.10),
    (2_000, 500, 50, 0.05, 0.10),
    (1_000, 500, 50, 0.05, 0.10),  # the batch is half of the pool
    (1_000, 900, 50, 0.05, 0.10),
    (2_000, 200, 0, 0.10, 0.10),  # no audit
    (2_000, 200, 40, 0.0, 0.10),  # no random arm
    (20_000, 100, 10, 0.05, 0.10, 2),
    (2_000, 200, 20, 0.05, 0.10, 5),
    (1_000, 90, 9, 0.05, 0.30, 10),
]
ESTIMATES = ("naive", "paper", "lure", "audit")


def main() -> None:
    """Play every setting; print a table, and write a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    head = " pool batch audit  arm  truth |"
    print(head + " | ".join(f"{name:>6}: bias spread holds" for name in ESTIMATES))
    rows = []
    for setting in SETTINGS:
        rows.append(play(*setting, draws=asked.draws))
        print(json.dumps(rows[-1]) if asked.json else _line(rows[-1]), flush=True)
    if asked.out:
        _draw(rows, asked.out)


def play(
    pool: int, size: int, audit: int, chance: float, wrong: float, group: int = 1, *, draws: int
) -> dict[str, Any]:
    """What the estimates say of one pool, batch after batch."""
    rng = np.random.default_rng([pool, size, audit, int(1000 * wrong)])
    doubt = rng.random(pool)
    right = rng.random(pool) >= np.minimum(1, 3 * wrong * doubt**2)
    truth, hardest = float(right.mean()), np.argsort(-doubt)
    groups = (np.argsort(hardest) // group).tolist()  # like ones are as hard
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ESTIMATES}
    shown = []
    for _ in range(draws):
        rows, odds, left = _batch(rng, hardest, groups, size, audit, chance)
        shown.append(is_sequential_draw(left))
        for name, told in _estimates(right, rows, odds, left, audit):
            found[name].append(told)
    row: dict[str, Any] = {"pool": pool, "batch": size, "from_audit": audit, "group": group}
    row |= {"chance": chance, "truth": truth, "shown": float(np.mean(shown))}
    for name, told_all in found.items():
        values, low, high = np.array(told_all).reshape(-1, 3).T
        row[name] = {
            "bias": float(values.mean() - truth) if len(values) else None,
            "spread": float(values.std()) if len(values) else None,
            "holds": float(((low <= truth) & (truth <= high)).mean()) if len(values) else None,
            "draws": len(values),
        }
    return row


def _batch(
    rng: np.random.Generator,
    hardest: np.ndarray,
    groups: list[int],
    size: int,
    audit: int,
    chance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in the order drawn, with which probability, from how many."""
    pool, group = len(hardest), groups.count(0)
    by_chance = (np.arange(size) < audit) | (rng.random(size) < chance)
    lot = iter(rng.choice(pool, min(2 * size * group, pool), replace=False).tolist())
    ranked = iter(hardest.tolist())
    taken: list[int] = []
    free: list[int] = []
    closed: set[int] = set()
    for place, from_lot in enumerate(by_chance):
        barred = closed if place >= audit else set()  # an audit closes nothing to itself
        free.append(pool - (place if place < audit else group * len(closed)))
        taken.append(
            next(row for row in (lot if from_lot else ranked) if groups[row] not in barred)
        )
        closed.add(groups[taken[-1]])
    left = np.array(free)
    odds = np.where(by_chance, chance / left, 1 - chance + chance / left)
    odds[:audit] = 1 / left[:audit]
    return np.array(taken), odds, left


def _estimates(
    right: np.ndarray, rows: np.ndarray, odds: np.ndarray, left: np.ndarray, audit: int
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    said = right[rows]
    plain = naive_accuracy(said)
    yield "naive", (plain.value, plain.low, plain.high)
    chosen, drawn, free = said[audit:], odds[audit:], left[audit:]  # the audit is apart
    yield "paper", _paper(chosen, drawn, free)
    if (drawn * free <= 1 + 1e-6).any():
        fair = lure_accuracy(chosen, draw_probability=drawn, draws_from=free)
        yield "lure", (fair.value, fair.low, fair.high)
    if audit:
        alone = mean_interval(said[:audit])
        yield "audit", (alone.value, alone.low, alone.high)


def _paper(said: np.ndarray, odds: np.ndarray, left: np.ndarray) -> tuple[float, float, float]:
    """LURE as published, with the normal interval of its weighted terms."""
    pool, size = left[0], len(said)
    place = np.arange(1, size + 1)
    weights = 1 + (pool - size) / (pool - place) * (1 / (left * odds) - 1)
    terms = weights * said
    half = 1.96 * terms.std(ddof=1) / np.sqrt(size)
    return terms.mean(), terms.mean() - half, terms.mean() + half


def _line(row: dict[str, Any]) -> str:
    told = f"{row['pool']:>5} {row['batch']:>5} {row['from_audit']:>5} {row['chance']:>4.2f} "
    parts = []
    for name in ESTIMATES:
        one = row[name]
        figures = "      -      -     -" if one["bias"] is None else (
            f"{one['bias']:>+7.3f} {one['spread']:>6.3f} {one['holds']:>5.3f}"
        )  # fmt: skip
        parts.append(f"{'':>5} {figures}")
    unseen = "" if row["shown"] else " | not shown"
    return f"{told} {row['truth']:.3f} |" + " | ".join(parts) + unseen


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The bias with twice the spread of each estimate, a setting a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(ESTIMATES):
        known = [place for place, row in enumerate(rows) if row[name]["bias"] is not None]
        bias = [rows[place][name]["bias"] for place in known]
        spread = [2 * rows[place][name]["spread"] for place in known]
        axes.errorbar(bias, [place + 0.15 * number for place in known], xerr=spread, fmt="o",
                      capsize=2, label=name)  # fmt: skip
    names = [
        f"{row['batch']} of {row['pool']:,}, audit {row['from_audit']}, right {row['truth']:.3f}"
        + (f", {row['group']} alike" if row["group"] > 1 else "")
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.axvline(0, color="black", lw=0.8)
    axes.set(xlim=(-0.6, 0.6), xlabel="estimate less truth: mean, and two standard deviations")
    axes.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
