"""Thousands of duels at once, by the rule of `models.judging.duel` for one population.

The tests compare it with `duel_state`, answer by answer.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import betaincinv

from models.judging.duel import AGAINST, FEWEST, SHARE_OF_ALPHA, WORTH
from models.judging.evidence import log_evidences

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
    answers: np.ndarray,
    alpha: np.ndarray,
    disagreements: np.ndarray,
    *,
    scored: int = SCORED,
    batch: int = 1,
) -> Played:
    """Every duel to its end; the rule looks after each `batch` answers."""
    most = answers.shape[1]
    wins = (answers == 1).cumsum(axis=1, dtype=np.int32)[:, batch - 1 :: batch]
    losses = (answers == -1).cumsum(axis=1, dtype=np.int32)[:, batch - 1 :: batch]
    count = np.arange(batch, most + 1, batch)
    highest = betaincinv(disagreements + 1, scored - disagreements, 1 - alpha * SHARE_OF_ALPHA)
    table = evidence_table(most)
    gained = table[wins, losses] >= -np.log(alpha)[:, None]
    worse = table[losses, wins] >= np.log(AGAINST)
    mean = (2 * highest_table(most)[wins, losses] - 1) * (wins + losses) / count
    futile = (mean * highest[:, None] < WORTH) & (count >= FEWEST)
    ends = np.where((worse | futile).any(axis=1), (worse | futile).argmax(axis=1), NEVER)
    first = _first_safe(gained, ends, wins, losses, count, alpha, highest)
    promoted = first <= np.minimum(ends, NEVER - 1)
    last = np.minimum(np.minimum(first, ends), len(count) - 1)
    rejected = ~promoted & (ends < NEVER) & worse[np.arange(len(worse)), last]
    return Played(promoted, rejected, count[last])


def _first_safe(
    gained: np.ndarray,
    ends: np.ndarray,
    wins: np.ndarray,
    losses: np.ndarray,
    count: np.ndarray,
    alpha: np.ndarray,
    highest: np.ndarray,
) -> np.ndarray:
    """The first look at which a gain is shown and the loss of the margin is excluded, too."""
    first = np.where(gained.any(axis=1), gained.argmax(axis=1), NEVER)
    for row in np.flatnonzero(first <= ends):
        if first[row] == NEVER:
            continue
        null = -MARGIN / highest[row]
        if null <= -1:
            continue
        for look in np.flatnonzero(gained[row]):
            won, lost = wins[row, look], losses[row, look]
            safety = log_evidences(won, count[look] - won - lost, lost, null_mean=null)
            if safety >= -np.log(alpha[row] * (1 - SHARE_OF_ALPHA)):
                first[row] = look
                break
        else:
            first[row] = NEVER
    return first


def play_not_worse(
    answers: np.ndarray, alpha: np.ndarray, disagreements: np.ndarray, *, batch: int = 10
) -> Played:
    """Duels in the mode `not-worse`; they end without a promotion at the last answer only."""
    most = answers.shape[1]
    wins = (answers == 1).cumsum(axis=1)[:, batch - 1 :: batch]
    losses = (answers == -1).cumsum(axis=1)[:, batch - 1 :: batch]
    count = np.arange(batch, most + 1, batch)
    highest = betaincinv(disagreements + 1, SCORED - disagreements, 1 - alpha * SHARE_OF_ALPHA)
    null = -MARGIN / np.maximum(highest, MARGIN * 1.0001)
    evidence = np.stack([
        log_evidences(won, count - won - lost, lost, null_mean=mean)
        for won, lost, mean in zip(wins, losses, null, strict=True)
    ])  # fmt: skip
    safe = evidence >= -np.log(alpha * (1 - SHARE_OF_ALPHA))[:, None]
    safe |= (highest <= MARGIN)[:, None]
    promoted = np.asarray(safe.any(axis=1))
    last = np.where(promoted, safe.argmax(axis=1), len(count) - 1)
    return Played(promoted, np.zeros_like(promoted), count[last])
