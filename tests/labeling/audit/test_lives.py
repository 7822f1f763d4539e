"""The standing audit in many lives of promoting; `benchmarks/verdicts.py coverage` has more of it.

A challenger (5 % of its answers are new) takes the champion's place when it is right on more rows
of the gate: a rule that errs on purpose. What strategies choose has no part in it.
"""

import numpy as np
import pytest

from core.intervals import mean_interval
from labeling.audit.numbers import AuditPolicy, Part, audit_number, part_of

ROUNDS, LABELS, CHANGED, LIVES = 20, 4, 0.05, 400  # rounds of a life, audit labels in each


@pytest.mark.parametrize("truth", [0.7, 0.9])
def test_the_figure_shown_is_unbiased_and_its_interval_holds_after_twenty_rounds(
    truth: float,
) -> None:
    lives = np.array([live(1_000, truth, seed) for seed in range(LIVES)])
    (value, low, high, real), gate = lives[:, 0].T, lives[:, 1].T
    assert abs((value - real).mean()) < 3 * (value - real).std() / np.sqrt(LIVES)
    assert ((low <= real) & (real <= high)).mean() > 0.95 - 3 * 0.011  # binomial
    assert (gate[0] - real).mean() > 0.01  # a champion is too good on the rows that chose it


def live(
    pool: int, truth: float, seed: int
) -> tuple[tuple[float, float, float, float], tuple[float, float, float, float]]:
    """The estimate on the reporting part and on the gate's after a life: value, bounds, real."""
    rng = np.random.default_rng([int(100 * truth), seed])
    names, key, policy = [f"{number}" for number in range(pool)], rng.bytes(32), AuditPolicy()
    numbers = np.array([audit_number(key, name) for name in names])
    order = np.argsort(numbers)[: min(int((numbers < policy.share).sum()), ROUNDS * LABELS)]
    is_report = np.array(
        [part_of(key, names[row], policy.report_share) == Part.REPORT for row in order]
    )
    doubt = rng.random(pool)
    champion = right(rng, doubt, truth)
    for played in range(1, ROUNDS + 1):
        asked = slice(LABELS * played)
        gate = order[asked][~is_report[asked]]
        challenger = np.where(rng.random(pool) < CHANGED, right(rng, doubt, truth), champion)
        if challenger[gate].sum() > champion[gate].sum():
            champion = challenger
    real = float(champion.mean())
    one, other = (mean_interval(champion[order[rows]]) for rows in (is_report, ~is_report))
    return (one.value, one.low, one.high, real), (other.value, other.low, other.high, real)


def right(rng: np.random.Generator, doubt: np.ndarray, truth: float) -> np.ndarray:
    """On which samples a model is right: less often on those in doubt."""
    return np.asarray(rng.random(len(doubt)) >= np.minimum(1, 3 * (1 - truth) * doubt**2))
