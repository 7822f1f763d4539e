"""Twenty rounds of challengers, many lives at once: who is promoted, wrongly or rightly."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.duels.play import (
    MARGIN,
    MOST,
    SCORED,
    chances_of,
    drawn,
    evidence_table,
    play,
    play_not_worse,
    totals,
)
from benchmarks.duels.rules import (
    alphas,
    counts_of,
    likeness_of,
    mcnemar_rule,
    point_estimate_rule,
    right_on,
    rows_for,
)
from models.judging.alpha_spending import alpha_of
from models.judging.duel import LAST_LOOK

ROUNDS = 20
ACCURACY = 0.9
DECISIVE = 7 / 9  # of the disagreements; on the rest both are wrong
AUDITS = (50, 100, 250, 1000)
Row = dict[str, Any]


def wrong_promotions(lives: int) -> Iterator[Row]:
    """Lives in which a challenger that is equal, or a point worse, is promoted at least once."""
    for gains in ((0.0, 0.0), (0.0, -0.01)):
        yield {"gain on pool": gains[0], "gain on traffic": gains[1], "disagreement": 0.09,
               "rule": "duel", "lives": two_population_lives(gains, lives)}  # fmt: skip
    for gain in (0.0, -0.01):
        for disagreement in (0.03, 0.09, 0.30):
            promoted, answers = duel_lives(gain, disagreement, lives)
            yield {"gain": gain, "disagreement": disagreement, "rule": "duel",
                   "lives": promoted, "answers": answers}  # fmt: skip
            for rows in AUDITS:
                for rule, share in audit_lives(gain, disagreement, rows, lives).items():
                    yield {"gain": gain, "disagreement": disagreement, "rule": rule,
                           "rows": rows, "lives": share}  # fmt: skip


def duel_lives(gain: float, disagreement: float, lives: int, seed: int = 0) -> tuple[float, float]:
    """The share of lives with a promotion in 20 duels, and the mean answers of a duel."""
    rng = np.random.default_rng([seed, int(1000 * disagreement), int(1000 * gain) + 500])
    numbers, promoted, answers = np.ones(lives, int), np.zeros(lives, bool), 0.0
    for _ in range(ROUNDS):
        played = _duels(rng, np.full(lives, gain), disagreement, alphas(numbers))
        promoted |= played.promoted
        numbers += ~played.promoted
        answers += played.answers.mean() / ROUNDS
    return float(promoted.mean()), answers


def two_population_lives(gains: tuple[float, float], lives: int) -> float:
    """The share of lives in which the evidence of a gain on pool or traffic is ever enough.

    Both are asked to the end of their answers, which is harder for the promise than the rule.
    """
    rng = np.random.default_rng([int(1000 * gain) + 500 for gain in gains])
    numbers, promoted, most = np.ones(lives, int), np.zeros(lives, bool), MOST // 2
    for _ in range(ROUNDS):
        alpha = alphas(numbers)
        each, last = [], np.zeros(lives, bool)
        for gain in gains:
            answers = drawn(rng, chances_of(np.full(lives, gain), 0.09), most)
            wins, losses = totals(answers)
            each.append(evidence_table(MOST)[wins, losses])
            p = binom.sf(wins[:, -1] - 1, wins[:, -1] + losses[:, -1], 0.5)
            last |= p <= alpha * LAST_LOOK / len(gains)
        pool, traffic = np.exp(each)
        together = np.log((pool + traffic + pool * traffic) / 3)
        gained = last | (together >= -np.log(alpha * (1 - LAST_LOOK))[:, None]).any(axis=1)
        promoted |= gained
        numbers += ~gained
    return float(promoted.mean())


def _duels(rng: np.random.Generator, gains: np.ndarray, disagreement: float, alpha: np.ndarray,
           most: int = MOST) -> Any:  # fmt: skip
    chances = chances_of(gains, disagreement)
    disagreements = rng.binomial(SCORED, chances.disagreement)
    return play(drawn(rng, chances, most), alpha, disagreements)


def audit_lives(gain: float, disagreement: float, rows: int, lives: int) -> dict[str, float]:
    """The same by rules that look at one audit of so many rows in every round."""
    rng = np.random.default_rng([rows, int(1000 * disagreement), int(1000 * gain) + 500])
    likeness = likeness_of(disagreement * DECISIVE, ACCURACY)
    difficulty = rng.standard_normal((lives, rows), dtype=np.float32)
    rules = ("audit test", "before: point estimate")
    promoted = {rule: np.zeros(lives, bool) for rule in rules}
    accuracy = {rule: np.full(lives, ACCURACY) for rule in rules}
    champion = {rule: right_on(rng, difficulty, accuracy[rule], likeness) for rule in rules}
    numbers = np.ones(lives, int)
    for _ in range(ROUNDS):
        for rule in rules:
            challenger = right_on(rng, difficulty, accuracy[rule] + gain, likeness)
            both, one, other, neither = counts_of(challenger, champion[rule])
            if rule == rules[0]:
                wins = mcnemar_rule(one, other, alphas(numbers))
                numbers += ~wins
            else:
                wins = point_estimate_rule(both, one, other, neither)
            promoted[rule] |= wins
            accuracy[rule][wins] += gain
            champion[rule][wins] = challenger[wins]
    return {rule: float(promoted[rule].mean()) for rule in rules}


def not_worse(lives: int) -> Iterator[Row]:
    """The mode `not-worse`: lives in which a loss of the margin is promoted, and what it costs."""
    for gain in (-MARGIN, -MARGIN / 2, 0.0):
        for disagreement in (0.03, 0.09, 0.30):
            rng = np.random.default_rng([int(1000 * disagreement), int(1000 * gain) + 500])
            numbers, ever = np.ones(lives, int), np.zeros(lives, bool)
            for number in range(ROUNDS):
                chances = chances_of(np.full(lives, gain), disagreement)
                disagreements = rng.binomial(SCORED, chances.disagreement)
                played = play_not_worse(drawn(rng, chances), alphas(numbers), disagreements)
                if not number:
                    first = {"first promoted": float(played.promoted.mean()),
                             "first answers": float(np.median(played.answers))}  # fmt: skip
                ever |= played.promoted
                numbers += ~played.promoted
            yield {"gain": gain, "disagreement": disagreement, "lives": float(ever.mean()), **first}


def answers_needed(lives: int) -> Iterator[Row]:
    """How soon a better challenger is promoted, by the number of the duel; beside an audit."""
    disagreement = 0.09
    for number in (1, 2, 5, 10, 20):
        for gain in (0.05, 0.02):
            rng = np.random.default_rng([number, int(100 * gain)])
            alpha = alpha_of(number)
            played = _duels(rng, np.full(lives, gain), disagreement, np.full(lives, alpha))
            used = np.where(played.promoted, played.answers, np.inf)
            chances = chances_of(gain, disagreement)
            wins, losses = float(chances.wins), float(chances.losses)
            row: Row = {"number": number, "gain": gain, "median": float(np.median(used))}
            row |= {f"within {most}": float((used <= most).mean()) for most in (25, 50, 100, 400)}
            for power in (0.5, 0.85, 0.95):
                duel = float(np.quantile(used, power, method="higher"))
                audit = rows_for(power, wins, losses, alpha)
                row |= {
                    f"duel {power}": duel,
                    f"audit {power}": audit,
                    f"times {power}": audit / duel,
                }
            yield row | {"answers": float(played.answers.mean())}


def retraining_noise(lives: int, spread: float = 0.01) -> Iterator[Row]:
    """The champion's true accuracy after 20 challengers that vary by chance."""
    for rows in AUDITS:
        yield from _noisy_audits(rows, lives, spread)
    for most in (100, 400):
        yield _noisy_duels(lives, spread, most)


def _noisy_duels(lives: int, spread: float, most: int) -> Row:
    rng = np.random.default_rng(most)
    numbers, accuracy = np.ones(lives, int), np.full(lives, ACCURACY)
    promotions, wrong, answers = 0.0, np.zeros(lives, bool), 0.0
    for _ in range(ROUNDS):
        challenger = rng.normal(ACCURACY, spread, lives)
        played = _duels(rng, challenger - accuracy, 0.09, alphas(numbers), most)
        wrong |= played.promoted & (challenger <= accuracy)
        numbers += ~played.promoted
        accuracy = np.where(played.promoted, challenger, accuracy)
        promotions += played.promoted.mean()
        answers += played.answers.mean()
    return {"rule": f"duel, {most} answers at most", "true": float(accuracy.mean()),
            "promotions": promotions, "lives with a wrong one": float(wrong.mean()),
            "answers in all": answers}  # fmt: skip


def _noisy_audits(rows: int, lives: int, spread: float) -> Iterator[Row]:
    likeness = likeness_of(0.09 * DECISIVE, ACCURACY)
    for rule in ("before: point estimate", "stored metrics", "audit test"):
        rng = np.random.default_rng(rows)
        difficulty = rng.standard_normal((lives, rows), dtype=np.float32)
        accuracy, numbers = np.full(lives, ACCURACY), np.ones(lives, int)
        champion = right_on(rng, difficulty, accuracy, likeness)
        stored = champion.mean(axis=1)
        promotions, wrong = 0.0, np.zeros(lives, bool)
        for _ in range(ROUNDS):
            level = rng.normal(ACCURACY, spread, lives)
            challenger = right_on(rng, difficulty, level, likeness)
            counts = counts_of(challenger, champion)
            if rule == "stored metrics":  # each model on a split of its own
                measured = rng.binomial(rows, level) / rows
                wins = measured > stored
                stored = np.where(wins, measured, stored)
            elif rule == "audit test":
                wins = mcnemar_rule(counts[1], counts[2], alphas(numbers))
                numbers += ~wins
            else:
                wins = point_estimate_rule(*counts)
            wrong |= wins & (level <= accuracy)
            promotions += wins.mean()
            champion[wins], accuracy = challenger[wins], np.where(wins, level, accuracy)
        yield {"rule": rule, "rows": rows, "true": float(accuracy.mean()),
               "promotions": promotions, "lives with a wrong one": float(wrong.mean())}  # fmt: skip
