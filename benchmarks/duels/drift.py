"""A champion that fails on drifted traffic, and a challenger that does not: is it promoted?"""

from typing import Any

import numpy as np

from models.judging.alpha_spending import alpha_of
from models.judging.duel import Counts, DuelPlan, Stratum, conclusion, is_open, views_of
from models.judging.evidence import Mode
from models.judging.verdict import Outcome

BATCH, MOST = 25, 400
# shares of samples: the challenger alone is right, both differ and are wrong, the champion alone is
POOL = {
    "equal": (0.0235, 0.013, 0.0235),
    "one point worse": (0.0185, 0.013, 0.0285),
    "three points worse": (0.0085, 0.013, 0.0385),
}
TRAFFIC = {"drifted": (0.62, 0.06, 0.02), "equal": (0.035, 0.02, 0.035)}


def drifted_traffic(pool: str, traffic: str, number: int, lives: int) -> dict[str, Any]:
    """Outcomes of duels on both populations, and the answers each of them took."""
    rng = np.random.default_rng([number, len(pool), len(traffic)])
    ends = [_duel(rng, POOL[pool], TRAFFIC[traffic], number) for _ in range(lives)]
    outcomes, of_pool, of_traffic = zip(*ends, strict=True)
    shares = {str(outcome): outcomes.count(outcome) / lives for outcome in Outcome}
    return {"pool": pool, "traffic": traffic, "number": number, **shares,
            "pool answers": float(np.median(of_pool)),
            "traffic answers": float(np.median(of_traffic)),
            "most traffic answers": max(of_traffic)}  # fmt: skip


def _duel(
    rng: np.random.Generator, pool: tuple[float, ...], traffic: tuple[float, ...], number: int
) -> tuple[Outcome, int, int]:
    chances = {"pool": np.array(pool), "traffic": np.array(traffic)}
    scored = {"pool": 5000, "traffic": 500}
    strata = tuple(
        Stratum(name, scored[name], int(rng.binomial(scored[name], chance.sum())))
        for name, chance in chances.items()
    )
    plan = DuelPlan(number, alpha_of(number), Mode.BETTER, 0.02, 0.0, MOST, strata)
    counts = {name: np.zeros(3, int) for name in chances}
    while True:
        told = {name: Counts(*count.tolist()) for name, count in counts.items()}
        views = views_of(plan, told)
        outcome, _ = conclusion(plan, views)
        if outcome is not None:
            return outcome, told["pool"].answers, told["traffic"].answers
        asked = [name for name in views if is_open(plan, views, name)]
        for name in asked:
            size = min(BATCH // len(asked), views[name].left)
            counts[name] += rng.multinomial(size, chances[name] / chances[name].sum())
