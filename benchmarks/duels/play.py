"""Thousands of duels at once, by the rule of `models.judging.duel` for one population.

The tests compare it with `duel_state`, answer by answer.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from models.judging.duel import (
    AGAINST,
    FEWEST,
    LAST_LOOK,
    SHARE_OF_ALPHA,
    WORTH,
    Counts,
    DuelPlan,
    Stratum,
    is_safe_at_last,
    views_of,
)
from models.judging.evidence import Mode, log_evidences

MOST = 400
MARGIN = 0.02
SCORED = 5000
NEVER = 10**6


@dataclass(frozen=True)
class Chances:
    """How often the challenger alone is right, both differ and are wrong, the champion alone is."""

    wins: np.ndarray
    ties: np.ndarray
    losses: np.ndarray

    @property
    def disagreement(self) -> np.ndarray:
        """The share of samples on which the models disagree."""
        return self.wins + self.ties + self.losses


def chances_of(gain: float | np.ndarray, disagreement: float | np.ndarray) -> Chances:
    """Two models that disagree on a share of the samples, both wrong on two in nine of these."""
    gains, share = np.broadcast_arrays(np.asarray(gain, float), np.asarray(disagreement, float))
    decisive = np.maximum(share * 7 / 9, np.abs(gains))
    return Chances((decisive + gains) / 2, share * 2 / 9, (decisive - gains) / 2)


@dataclass(frozen=True)
class Played:
    """For each duel: whether it promoted or rejected, and after how many answers it ended."""

    promoted: np.ndarray
    rejected: np.ndarray
    answers: np.ndarray


@cache
def evidence_table(most: int = MOST) -> np.ndarray:
    """The log evidence of a gain after so many wins and losses."""
    wins, losses = np.indices((most + 1, most + 1))
    return np.stack(
        [log_evidences(wins[row], 0, losses[row], null_mean=0) for row in range(most + 1)]
    )


@cache
def highest_table(most: int = MOST) -> np.ndarray:
    """The upper bound of the chance of a win in a decisive answer."""
    wins, losses = np.indices((most + 1, most + 1))
    return np.asarray(betaincinv(wins + 1, losses + 1, 0.95))


def drawn(rng: np.random.Generator, chances: Chances, most: int = MOST) -> np.ndarray:
    """Answers of each duel in the order in which they come, as int8."""
    share = np.atleast_1d(chances.disagreement)[:, None]
    chance = rng.random((len(share), most), dtype=np.float32)
    won = chance < np.atleast_1d(chances.wins)[:, None] / share
    lost = chance > 1 - np.atleast_1d(chances.losses)[:, None] / share
    return won.astype(np.int8) - lost.astype(np.int8)


def play(
    answers: np.ndarray, alpha: np.ndarray, disagreements: np.ndarray, *, scored: int = SCORED
) -> Played:
    """Every duel to its end; the rule looks after each answer, up to the last disagreement."""
    most = answers.shape[1]
    wins, losses = totals(answers)
    last = np.minimum(disagreements, most) - 1
    count = np.arange(1, most + 1)
    highest = _highest_share(alpha, disagreements, scored)
    table, rows = evidence_table(most), np.arange(len(answers))
    gained = table[wins, losses] >= -np.log(alpha * (1 - LAST_LOOK))[:, None]
    won, lost = wins[rows, np.maximum(last, 0)], losses[rows, np.maximum(last, 0)]
    gained[rows, last] |= binom.sf(won - 1, won + lost, 0.5) <= alpha * LAST_LOOK
    gained[count > last[:, None] + 1] = False
    worse = table[losses, wins] >= np.log(AGAINST)
    mean = (2 * highest_table(most)[wins, losses] - 1) * (wins + losses) / count
    ended = worse | ((mean * highest[:, None] < WORTH) & (count >= FEWEST))
    ended[rows, last] = True
    ends = ended.argmax(axis=1)
    first = _first_safe(gained, ends, answers, alpha, disagreements, scored)
    promoted = (first <= ends) & (disagreements > 0)
    final = np.minimum(first, ends)
    rejected = ~promoted & worse[rows, final]
    return Played(promoted, rejected, np.where(disagreements > 0, count[final], 0))


def totals(answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wins and losses up to each answer."""
    wins = (answers == 1).cumsum(axis=1, dtype=np.int32)
    return wins, (answers == -1).cumsum(axis=1, dtype=np.int32)


def _highest_share(alpha: np.ndarray, disagreements: np.ndarray, scored: int) -> np.ndarray:
    bound = betaincinv(disagreements + 1, scored - disagreements, 1 - alpha * SHARE_OF_ALPHA)
    return np.asarray(bound)


def _first_safe(
    gained: np.ndarray,
    ends: np.ndarray,
    answers: np.ndarray,
    alpha: np.ndarray,
    disagreements: np.ndarray,
    scored: int,
) -> np.ndarray:
    """The first look at which a gain is shown and the loss of the margin is excluded, too."""
    first = np.full(len(answers), NEVER)
    for row in range(len(answers)):
        stratum = Stratum("pool", scored, int(disagreements[row]))
        plan = _plan(stratum, float(alpha[row]), answers.shape[1], Mode.BETTER)
        for look in np.flatnonzero(gained[row, : ends[row] + 1]):
            counts = {"pool": _counts(answers[row, : look + 1])}
            if views_of(plan, counts, with_bounds=False)["pool"].safe:
                first[row] = look
                break
    return first


def _plan(stratum: Stratum, alpha: float, most: int, mode: Mode) -> DuelPlan:
    return DuelPlan(1, alpha, mode, MARGIN, 0.0, most, (stratum,))


def _counts(answers: np.ndarray) -> Counts:
    wins, losses = int((answers == 1).sum()), int((answers == -1).sum())
    return Counts(wins, len(answers) - wins - losses, losses)


def play_not_worse(
    answers: np.ndarray, alpha: np.ndarray, disagreements: np.ndarray, *, every: int = 10
) -> Played:
    """Duels in the mode `not-worse`, looked at after `every` tenth answer and after the last."""
    wins, losses = totals(answers)
    highest = _highest_share(alpha, disagreements, SCORED)
    promoted, used = np.zeros(len(answers), bool), np.minimum(disagreements, answers.shape[1])
    for row, last in enumerate(used.tolist()):
        looks = np.append(np.arange(every, last, every), last) - 1
        won, lost = wins[row, looks], losses[row, looks]
        null = max(-MARGIN / highest[row], -0.9999)
        evidence = log_evidences(won, looks + 1 - won - lost, lost, null_mean=null)
        safe = evidence >= -np.log(alpha[row] * (1 - LAST_LOOK - SHARE_OF_ALPHA))
        if not safe.any() and won[-1] + 1.5 * np.sqrt(last) > lost[-1] - null * last:
            plan = _plan(Stratum("pool", SCORED, int(disagreements[row])), float(alpha[row]),
                         answers.shape[1], Mode.NOT_WORSE)  # fmt: skip
            safe[-1] = is_safe_at_last(plan, plan.strata[0], _counts(answers[row, :last]))
        if safe.any() or highest[row] <= MARGIN:
            promoted[row], used[row] = True, looks[safe.argmax()] + 1
    return Played(promoted, np.zeros_like(promoted), used)
