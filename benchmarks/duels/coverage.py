"""Whether the accuracy that is shown holds after 20 rounds of choosing, duelling and promoting.

Each group has a permanent random number; the audit is those below the share, asked in their order.
Strategies take the hardest of the others. Challengers duel on groups that are neither in the audit
nor chosen; the gate rows may stop a challenger; the figure is from the reporting rows alone.
"""

from typing import Any

import numpy as np

from benchmarks.duels.play import MOST, play
from benchmarks.duels.rules import alphas, counts_of, likeness_of, mcnemar_rule, right_on
from core.intervals import wilson

ROUNDS = 20
SHARE, REPORT_SHARE = 0.2, 0.3
BATCH, AUDIT_PLACES, AUDIT_PLACES_FIRST, GATE_ROWS = 50, 5, 25, 30
SPREAD = 0.02  # of the challengers' accuracy


def shown_accuracy(pool: int, truth: float, lives: int, seed: int = 0) -> dict[str, Any]:
    """Bias and coverage of the figure, and the same of the gate rows, which chose the champion."""
    rng = np.random.default_rng([pool, int(100 * truth), seed])
    lines = np.array([_life_block(rng, pool, truth, 50) for _ in range(lives // 50)])
    report, gate, everyone, rows, promotions, wrong = lines.transpose(1, 0, 2).reshape(6, -1)
    low, high = np.array([wilson(*one) for one in zip(report, rows, strict=True)]).T
    return {"pool": pool, "truth": truth, "lives": len(report), "rows": float(rows.mean()),
            "bias": float((report - everyone).mean()),
            "holds": float(((low <= everyone) & (everyone <= high)).mean()),
            "bias of gate rows": float((gate - everyone).mean()),
            "promotions": float(promotions.mean()),
            "lives with a wrong one": float(wrong.mean())}  # fmt: skip


def _life_block(rng: np.random.Generator, pool: int, truth: float, lives: int) -> np.ndarray:
    """Of each life: the figure, that of the gate rows, the truth, rows, promotions, a wrong one."""
    likeness = likeness_of(0.09 * 7 / 9 if truth > 0.8 else 0.2, truth)
    number, report = rng.random((lives, pool)), rng.random((lives, pool)) < REPORT_SHARE
    order = np.argsort(number, axis=1).argsort(axis=1)  # how early a group is asked
    audit = number < SHARE
    difficulty = rng.standard_normal((lives, pool), dtype=np.float32)
    hardness = np.argsort(np.argsort(np.where(audit, -9, difficulty), axis=1), axis=1)
    champion = right_on(rng, difficulty, np.full(lives, truth), likeness)
    wrong = np.zeros(lives)
    asked, numbers, promotions = 0, np.ones(lives, int), np.zeros(lives)
    for number_of_round in range(1, ROUNDS + 1):
        asked += AUDIT_PLACES_FIRST if 0.7 * asked < GATE_ROWS else AUDIT_PLACES
        labelled = audit & (order < asked)
        chosen = hardness >= pool - number_of_round * (BATCH - AUDIT_PLACES)
        challenger = right_on(rng, difficulty, rng.normal(truth, SPREAD, lives), likeness)
        differ = (challenger != champion) & ~audit & ~chosen
        wins = _duels(rng, challenger, differ, alphas(numbers))
        gate = labelled & ~report
        _, one, other, _ = counts_of(challenger | ~gate, champion | ~gate)
        wins &= ~mcnemar_rule(other, one, np.full(lives, 0.05))  # stopped by the gate rows
        numbers += ~wins
        promotions += wins
        wrong = np.maximum(wrong, wins & (challenger.mean(axis=1) <= champion.mean(axis=1)))
        champion[wins] = challenger[wins]
    shown, gate = labelled & report, labelled & ~report
    return np.stack([
        (champion & shown).sum(axis=1) / shown.sum(axis=1),
        (champion & gate).sum(axis=1) / gate.sum(axis=1),
        champion.mean(axis=1), shown.sum(axis=1), promotions, wrong,
    ])  # fmt: skip


def _duels(
    rng: np.random.Generator, challenger: np.ndarray, differ: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Duels on the groups on which the models differ, without replacement."""
    answers = np.zeros((len(differ), MOST), np.int8)
    for life, groups in enumerate(differ):
        drawn = rng.permutation(np.flatnonzero(groups))[:MOST]
        answers[life, : len(drawn)] = np.where(challenger[life, drawn], 1, -1)
    played = play(answers, alpha, differ.sum(axis=1), scored=differ.shape[1])
    return np.asarray(played.promoted)
