"""Does the figure shown hold after a life of choosing and promoting?

    .venv/bin/python benchmarks/standing_audit.py [--lives 1000] [--json]

Each life has a pool and a key of its own. In every round the standing audit's next samples are
labelled in the order of their numbers, and a challenger (5 % of its answers are new) takes the
champion's place when it is right on more rows of the gate: a rule that errs on purpose. The
champion's accuracy is estimated on the reporting part with Wilson's interval, as Hone does; on the
gate's rows, which chose it; and on the whole audit. For each the bias against its accuracy on all
samples, and how often its 95 % interval holds it. What strategies choose has no part in it.
"""

import argparse
import json
from typing import Any

import numpy as np

from core.intervals import share_bounds
from labeling.audit.numbers import AuditPolicy, Part, audit_number, part_of

# samples, accuracy of the models, labels in a round
SETTINGS = [(1_000, 0.7, 20), (1_000, 0.9, 20), (10_000, 0.7, 50), (10_000, 0.9, 50)]
ROUNDS, AUDIT_SHARE, CHANGED = 20, 0.2, 0.05
ESTIMATES = ("report", "gate", "both")


def main() -> None:
    """Play every setting and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    print("  pool truth | " + " | ".join(f"{name:>6}: bias holds" for name in ESTIMATES))
    for setting in SETTINGS:
        row = play(*setting, lives=asked.lives)
        print(json.dumps(row) if asked.json else _line(row), flush=True)


def play(
    pool: int, truth: float, batch: int, *, lives: int, rounds: int = ROUNDS
) -> dict[str, Any]:
    """The bias and the coverage of each estimate after the last round of so many lives."""
    ended = [live(pool, truth, batch, rounds, seed) for seed in range(lives)]
    row: dict[str, Any] = {"pool": pool, "truth": truth, "batch": batch, "lives": lives}
    for place, name in enumerate(ESTIMATES):
        value, low, high, real = np.array([life[place] for life in ended]).T
        row[name] = {
            "bias": float((value - real).mean()),
            "error": float((value - real).std() / np.sqrt(lives)),
            "holds": float(((low <= real) & (real <= high)).mean()),
        }
    return row


def live(
    pool: int, truth: float, batch: int, rounds: int, seed: int
) -> list[tuple[float, float, float, float]]:
    """Each estimate, its bounds and the champion's accuracy after the last round of one life."""
    rng = np.random.default_rng([pool, int(100 * truth), seed])
    names, key, policy = [f"{number}" for number in range(pool)], rng.bytes(32), AuditPolicy()
    numbers = np.array([audit_number(key, name) for name in names])
    order = np.argsort(numbers)[: int((numbers < policy.share).sum())]
    report = np.array(
        [part_of(key, names[row], policy.report_share) == Part.REPORT for row in order]
    )
    doubt = rng.random(pool)
    champion = _right(rng, doubt, truth)
    places = max(int(np.ceil(AUDIT_SHARE * batch)), 1)
    for played in range(1, rounds + 1):
        gate = order[: places * played][~report[: places * played]]
        challenger = np.where(rng.random(pool) < CHANGED, _right(rng, doubt, truth), champion)
        if challenger[gate].sum() > champion[gate].sum():
            champion = challenger
    asked = order[: places * rounds]
    parts = (asked[report[: len(asked)]], asked[~report[: len(asked)]], asked)
    return [_estimate(champion[rows], float(champion.mean())) for rows in parts]


def _right(rng: np.random.Generator, doubt: np.ndarray, truth: float) -> np.ndarray:
    """On which samples a model is right: less often on those in doubt."""
    return np.asarray(rng.random(len(doubt)) >= np.minimum(1, 3 * (1 - truth) * doubt**2))


def _estimate(right: np.ndarray, real: float) -> tuple[float, float, float, float]:
    share = float(right.mean())
    return share, *share_bounds(share, len(right)), real


def _line(row: dict[str, Any]) -> str:
    each = " | ".join(
        f"{'':>6}  {row[name]['bias']:+.4f} {row[name]['holds']:.3f}" for name in ESTIMATES
    )
    return f"{row['pool']:>6} {row['truth']:>5.2f} | {each}"


if __name__ == "__main__":
    main()
