"""`auto`: strategies share the batch, by what their proposals would teach in this workspace.

None is best everywhere, and no rule that was tuned on one data set holds on the next. So each of
`CANDIDATES` proposes, and `evidence.weigh` judges the proposals by the labels so far. The distance
to the best decides who gets which part of the batch; those that are nearly as good share it,
because the judgement is uncertain and they see different things. Random choice is judged beside
them as the control: it gets no part, and what it is worth is the scale of the distances. Before
there are labels of two classes, the samples that cover most of the pool come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labeling.strategies.bait import bait, rare_bait
from labeling.strategies.evidence import JUDGED, Evidence, weigh
from labeling.strategies.pool import Choice, Pool
from labeling.strategies.strategy import at_random
from labeling.strategies.uncertainty import by_margin
from labeling.strategies.uncertainty_coverage import (
    coverage,
    rare_uncertainty_coverage,
    uncertainty_coverage,
)

CANDIDATES: dict[str, Callable[[Pool, int, np.random.Generator], Choice]] = {
    "uncertainty_coverage": uncertainty_coverage,
    "rare_uncertainty_coverage": rare_uncertainty_coverage,
    "bait": bait,
    "rare_bait": rare_bait,
    "margin": by_margin,
}
PRIOR = {  # by development runs: the parts where nothing else tells the candidates apart
    "uncertainty_coverage": 2.0,
    "rare_uncertainty_coverage": 2.0,
    "bait": 1.0,
    "rare_bait": 1.0,
    "margin": 0.5,
}
EVEN_ONLY = ("uncertainty_coverage", "bait")  # count less where predicted classes are uneven
CONTROLS = 4  # draws by chance that are judged beside the proposals
LEAST_PART = 0.1  # of the batch: less is left to the others
PROPOSERS = 20_000  # samples, drawn from a larger pool, that the proposals to be judged come from


@dataclass(frozen=True)
class Plan:
    """The part of the batch that each strategy gets, the largest first, and why in one sentence."""

    parts: dict[str, float]  # sums to one
    why: str

    def __str__(self) -> str:
        parts = (f"{name} {part:.0%}" if part < 1 else name for name, part in self.parts.items())
        return f"{' and '.join(parts)} ({self.why})"


def auto(pool: Pool, size: int, rng: np.random.Generator) -> Choice:
    """A batch that the best strategies share; `by` names the one that wanted each row."""
    size = min(size, len(pool.free))
    decided = plan(pool, size, rng)
    places = _turns(decided.parts, size)
    chosen: dict[str, Choice] = {}
    for name in decided.parts:
        left = _without(pool, [choice.rows for choice in chosen.values()])
        chosen[name] = _STRATEGIES[name](left, places.count(name), rng)
    turns = {name: iter(zip(one.rows, one.scores, strict=True)) for name, one in chosen.items()}
    rows = [next(turns[name]) for name in places]
    return Choice(
        np.array([row for row, _ in rows], np.int64),
        np.array([score for _, score in rows], np.float64),
        by=tuple(places),
        why=str(decided),
    )


def plan(pool: Pool, size: int, rng: np.random.Generator) -> Plan:
    """Who gets which part of a batch of this size."""
    if pool.embeddings is None:
        return without_embeddings(pool)
    if pool.probs is None or pool.labels is None or not (pool.labels >= 0).any():
        why = f"{_unknown(pool)}: images that represent many others are chosen"
        return Plan({"coverage": 1.0}, why)
    if size < 1 or len(pool.free) <= size:
        return Plan({"margin": 1.0}, "the whole pool is asked, the least certain first")
    sampled = _sample(pool, rng)
    proposals = {name: choose(sampled, JUDGED, rng).rows for name, choose in CANDIDATES.items()}
    drawn = {f"random {number}": at_random(sampled, JUDGED, rng).rows for number in range(CONTROLS)}
    evidence = weigh(sampled, proposals | drawn, rng)
    chance = float(np.mean([evidence.gains[name] for name in drawn]))
    assert sampled.probs is not None
    even = evenness(sampled.probs)
    prior = {name: part * (even**2 if name in EVEN_ONLY else 1.0) for name, part in PRIOR.items()}
    return _shared(evidence, chance, prior, int((pool.labels >= 0).sum()), even)


def _unknown(pool: Pool) -> str:
    """Why nothing is known about the classes of the pool."""
    known = np.empty(0) if pool.labels is None else pool.labels[pool.labels >= 0]
    if not len(known):
        return "no label yet"
    alike = len(np.unique(known)) == 1
    return f"{len(known)} labels of one class" if alike else "no predictions"


def without_embeddings(pool: Pool) -> Plan:
    """What is left to do with a pool that nothing can be compared in."""
    if pool.probs is None:
        return Plan({"random": 1.0}, "no predictions, no embeddings: drawn at random")
    return Plan({"margin": 1.0}, "only predictions are known: the least certain are chosen")


def evenness(probs: np.ndarray) -> float:
    """The effective number of predicted classes over that of classes; 1 if all are as common."""
    shares = probs.mean(axis=0, dtype=np.float64)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum()
    return float(np.exp(entropy) / len(shares))


def _shared(
    evidence: Evidence, chance: float, prior: Mapping[str, float], labels: int, even: float
) -> Plan:
    """Parts by the prior and by what each would teach; what chance would teach is the control.

    As much as the worst is behind the best, or the doubt if it is larger, divides a part by e.
    """
    gains = {name: evidence.gains[name] for name in CANDIDATES}
    order = sorted(gains, key=lambda name: -gains[name])
    best, least = gains[order[0]], min(chance, gains[order[-1]])
    close = {name: max(evidence.doubts[name], best - least, 1e-12) for name in order}
    raw = {name: prior[name] * float(np.exp((gains[name] - best) / close[name])) for name in order}
    shared = {name: value for name, value in raw.items() if value >= LEAST_PART * sum(raw.values())}
    largest_first = sorted(shared, key=lambda name: -shared[name])
    parts = {name: shared[name] / sum(shared.values()) for name in largest_first}
    likely = " and ".join(f"{name} {share:.0%}" for name, share in evidence.processes.items())
    worth = ", ".join(f"{name} {100 * gains[name]:.1f}" for name in order)
    return Plan(
        parts,
        f"by {labels} labels, points of error that {JUDGED} more should take away: {worth}, "
        f"random choice {100 * chance:.1f}; how classes follow the embeddings: {likely}; "
        f"evenness of the predicted classes {even:.2f}",
    )


def _turns(parts: Mapping[str, float], size: int) -> list[str]:
    """Whose turn it is at each place: every beginning is shared as the whole."""
    owed = dict.fromkeys(parts, 0.0)
    turns = []
    for _ in range(size):
        for name, part in parts.items():
            owed[name] += part
        name = max(owed, key=lambda name: owed[name])
        owed[name] -= 1
        turns.append(name)
    return turns


def _sample(pool: Pool, rng: np.random.Generator) -> Pool:
    """The rows of the pool that may be chosen, or a draw of many."""
    rows = np.sort(rng.permutation(pool.free)[:PROPOSERS])
    assert pool.probs is not None and pool.embeddings is not None
    return replace(pool, probs=pool.probs[rows], embeddings=pool.embeddings[rows], ensemble=None,
                   allowed=None)  # fmt: skip


def _without(pool: Pool, parts: Sequence[np.ndarray]) -> Pool:
    """The pool with these rows counted among the labelled."""
    if not parts:
        return pool
    taken = np.concatenate(parts)
    allowed = np.zeros(len(pool), bool)
    allowed[np.setdiff1d(pool.free, taken)] = True
    if pool.embeddings is None:
        return replace(pool, allowed=allowed)
    new = np.asarray(pool.embeddings[taken], np.float32)
    labelled = new if pool.labelled is None else np.concatenate([pool.labelled, new])
    labels = np.empty(0, np.int64) if pool.labels is None else pool.labels
    labels = np.concatenate([labels, np.full(len(taken), -1)])
    return replace(pool, allowed=allowed, labelled=labelled, labels=labels)


_STRATEGIES = CANDIDATES | {"coverage": coverage, "random": at_random}
