"""Whom to ask next: probabilities in, a batch with its reasons out.

A strategy gives each sample a score, `select_batch` makes a batch of the scores; a new strategy is
a function and a line in `STRATEGIES`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

BATCH_COLUMNS = ["sample_id", "position", "reason", "score", "inclusion_probability"]
ROUNDING = 1e-3  # how far float32 probabilities of one sample may be from a sum of one


def margin(probs: np.ndarray) -> np.ndarray:
    """How close the two best classes are: 1 is a tie, 0 a certain winner."""
    runner_up, best = np.partition(probs, -2, axis=1)[:, -2:].T
    return 1 - (best - runner_up)


def entropy(probs: np.ndarray) -> np.ndarray:
    """How spread the probability is, in nats: log(classes) knows nothing, 0 is certain."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    return -(probs * logs).sum(axis=1)


def least_confidence(probs: np.ndarray) -> np.ndarray:
    """How much is missing to a certain best class: 0 is certain."""
    return 1 - probs.max(axis=1)


STRATEGIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "margin": margin,
    "entropy": entropy,
    "least_confidence": least_confidence,
}


@dataclass(frozen=True)
class SelectionConfig:
    """How a batch is made up. Shares are rounded up, so that one asked for is never nothing."""

    strategy: str = "margin"  # beats random on balanced pools, where entropy loses to it
    size: int = 50  # minutes of one person's work; much smaller ones waste training runs
    audit_share: float = 0.1  # the price of honest figures: these are never trained on
    random_share: float = 0.0  # trained on; a control arm, and a look where the model looks away
    served_share: float = 0.0  # from served traffic, and all of the audit; raised to answer drift

    def __post_init__(self) -> None:
        choices = [*STRATEGIES, "random"]
        if self.strategy not in choices:
            raise ValueError(f"strategy is {self.strategy!r}; choose from {', '.join(choices)}")
        if self.size < 1:
            raise ValueError(f"size is {self.size}; a batch has at least one sample")
        for name in ("audit_share", "random_share", "served_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; choose from 0 to 1")
        if self.audit_share + self.random_share > 1:
            raise ValueError(
                f"audit_share {self.audit_share} and random_share {self.random_share} together "
                "are more than the batch; lower one of them"
            )


def select_batch(
    pool: pd.DataFrame,
    probs: np.ndarray | None,
    config: SelectionConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The next batch in the order to ask, with the reason and the score of each sample.

    Row i of `probs` belongs to row i of `pool`; None is a cold start, and all is random. The order
    of rows does not matter, and the same seed gives the same batch. The audit part comes first, so
    that a round left unfinished keeps it whole: each sample of the pool is in it with the same
    probability. Near-duplicates of an audit sample are never chosen, and no two of one group as
    long as there are others.
    """
    _check(pool, probs)
    pool, probs = _in_order(pool, probs)
    turn = rng.permutation(len(pool))
    score = STRATEGIES.get(config.strategy)
    scores = None if probs is None or score is None or pool.empty else score(probs)
    drawn = _draw_audit(turn, (pool["origin"] == "served").to_numpy(), config)
    chosen = _choose(pool, turn, drawn, scores, config)
    batch = pd.DataFrame({"sample_id": pool["sample_id"].to_numpy()[list(chosen)]})
    batch["position"] = np.arange(len(batch))
    batch["reason"] = pd.Series(list(chosen.values()), dtype=object)
    batch["score"] = np.nan if scores is None else scores[list(chosen)]
    batch["inclusion_probability"] = [drawn.get(row, np.nan) for row in chosen]
    return batch[BATCH_COLUMNS]


def _draw_audit(
    turn: np.ndarray, is_served: np.ndarray, config: SelectionConfig
) -> dict[int, float]:
    """Rows of the audit, drawn at random, each with the probability it was drawn with.

    With a `served_share` it is drawn from the served samples, as far as they go: a batch that
    answers drift must measure what drifted, and the others were audited before.
    """
    size = _part(min(config.size, len(turn)), config.audit_share)
    served, others = turn[is_served[turn]], turn[~is_served[turn]]
    if config.served_share == 0:
        served, others = turn[:0], turn
    from_served = min(size, len(served))
    parts = (served, from_served), (others, size - from_served)
    return {int(row): count / len(rows) for rows, count in parts for row in rows[:count]}


def _choose(
    pool: pd.DataFrame,
    turn: np.ndarray,
    drawn: Iterable[int],
    scores: np.ndarray | None,
    config: SelectionConfig,
) -> dict[int, str]:
    """Rows of the pool in the order to ask, each with its reason."""
    size = min(config.size, len(pool))
    groups = pd.factorize(pool["group_id"])[0]
    # The sort is stable, so the random turn decides between equal scores.
    by_score = turn if scores is None else turn[np.argsort(-scores[turn], kind="stable")]
    served = by_score[pool["origin"].to_numpy()[by_score] == "served"]
    chosen = dict.fromkeys(drawn, "audit")
    random_end = min(size, len(chosen) + _part(size, config.random_share))
    served_end = random_end + _part(size - random_end, config.served_share)
    strategy = "random" if scores is None else config.strategy

    held = set(groups[list(chosen)].tolist())
    taken = set(held)
    _fill(chosen, turn, groups, taken, end=random_end, reason="random")
    _fill(chosen, served, groups, taken, end=served_end, reason="served")
    _fill(chosen, by_score, groups, taken, end=size, reason=strategy)
    # Too few groups for the batch: more of one group is better than idle annotators.
    spare = by_score[~np.isin(groups[by_score], list(held))]
    for row in spare[~np.isin(spare, list(chosen))][: size - len(chosen)].tolist():
        chosen[row] = strategy
    return chosen


def _fill(
    chosen: dict[int, str],
    order: np.ndarray,
    groups: np.ndarray,
    taken: set[int],
    *,
    end: int,
    reason: str,
) -> None:
    """Take rows in order, one of each group, until `end` are chosen."""
    for row in order:
        if len(chosen) >= end:
            return
        if groups[row] not in taken:
            taken.add(int(groups[row]))
            chosen[int(row)] = reason


def _part(size: int, share: float) -> int:
    return math.ceil(round(size * share, 9))  # 30 * 0.1 is 3.0000000000000004


def _in_order(
    pool: pd.DataFrame, probs: np.ndarray | None
) -> tuple[pd.DataFrame, np.ndarray | None]:
    """The same rows sorted by sample, so that nothing depends on how they came."""
    order = pool["sample_id"].argsort(kind="stable").to_numpy()
    return pool.iloc[order], None if probs is None else probs[order]


def _check(pool: pd.DataFrame, probs: np.ndarray | None) -> None:
    """Refuse a pool with a sample twice, and probabilities that are none."""
    twice = pool["sample_id"].duplicated().to_numpy()
    if twice.any():
        raise ValueError(_complaint("are in the pool twice", twice, pool))
    if probs is None or pool.empty:
        return
    if probs.ndim != 2 or len(probs) != len(pool) or probs.shape[1] < 2:
        raise ValueError(
            f"probabilities have shape {probs.shape} for {len(pool)} samples; "
            "one row per sample and at least two classes are needed"
        )
    strange = ~np.isfinite(probs).all(axis=1)
    if strange.any():
        raise ValueError(_complaint("have a probability that is not finite", strange, pool))
    off = (np.abs(probs.sum(axis=1) - 1) > ROUNDING) | (probs < 0).any(axis=1)
    if off.any():
        raise ValueError(_complaint("have probabilities that do not sum to one", off, pool))


def _complaint(what: str, bad: np.ndarray, pool: pd.DataFrame) -> str:
    first = pool["sample_id"].to_numpy()[bad][0]
    return (
        f"{bad.sum()} of {len(bad)} samples {what}, the first is {first}; "
        "score the pool anew, or choose without a model (no probabilities)"
    )
