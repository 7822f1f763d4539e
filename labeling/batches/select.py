"""Whom to ask next: what is seen of the pool in, a batch with its reasons out.

A strategy (see `labeling/strategies`) proposes rows in the order to ask; what is said here holds
with every one of them: the audit, the random arm, quotas, caps and near-duplicates.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from core.configuration import OneOf, configuration
from labeling.batches.checks import sorted_by_sample, validate_predictions
from labeling.batches.slots import BatchBuilder, GroupLimit, Pick
from labeling.strategies import STRATEGIES, Pool
from labeling.strategies.substitute import usable
from labeling.strategies.uncertainty import margin

BATCH_COLUMNS = [
    "sample_id",
    "position",
    "reason",
    "score",
    "inclusion_probability",
    "draw_probability",
    "draws_from",
]
FEW = 0.01  # of the pool may be kept from the audit: it moves an estimate over all by no more


@configuration("selection")
class SelectionConfig:
    """How a batch is made up. Shares are rounded up, so that one asked for is never nothing."""

    strategy: Annotated[str, OneOf(STRATEGIES)] = Field(
        default="auto", description="how to choose; auto decides by the model and the embeddings"
    )
    size: int = Field(  # minutes of one annotator's work; much smaller ones waste training runs
        default=50, ge=1, description="samples in the batch"
    )
    audit_share: float = Field(  # the price of honest figures: these are never trained on
        default=0.1,
        ge=0,
        le=1,
        description="share drawn at random for the audit; raised, up to half the batch, "
        "until there are enough audit labels for a verdict",
    )
    random_share: float = Field(  # checks the claim that choosing pays for life
        default=0.05, ge=0, le=1, description="chance of each place to be drawn at random"
    )
    served_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share from served traffic, and all of the audit; raised to answer drift",
    )
    fresh_share: float = Field(
        default=0.0, ge=0, le=1, description="share from what was added in the last fresh_days"
    )
    fresh_days: int = Field(default=7, ge=1, description="days that a sample counts as fresh")
    source_share: float = Field(
        default=1.0, gt=0, le=1, description="at most, from one folder or from served traffic"
    )
    balance: bool = Field(default=False, description="predicted classes in equal parts")
    quotas: Mapping[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="places for samples predicted to be of a class"
    )
    named: Sequence[str] = Field(default=(), description="sample ids that come first")
    relabel_share: float = Field(
        default=0.0, ge=0, le=1, description="at most, for labels that deserve a second look"
    )
    feature_seconds: float = Field(
        default=90.0, ge=0, description="to learn features on the pool while there is no model"
    )

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        if self.promised > self.size:
            raise ValueError(
                f"the audit, {len(self.named)} named and {sum(self.quotas.values())} places of "
                f"quotas are {self.promised}, more than the batch of {self.size}; make it larger"
            )
        return self

    @property
    def promised(self) -> int:
        """Places that nothing else may take: of the audit, of the named and of quotas."""
        audit = share_of(self.size, self.audit_share)
        return audit + len(self.named) + sum(self.quotas.values())

    @property
    def by_chance(self) -> bool:
        """Whether nothing need be seen of the pool, because chance alone decides."""
        return self.strategy == "random" and not (self.balance or self.quotas or self.relabel_share)


def select_batch(
    pool: pd.DataFrame,
    seen: Pool,
    config: SelectionConfig,
    rng: np.random.Generator,
    *,
    classes: Sequence[str] = (),
    taken: int = 0,
) -> tuple[pd.DataFrame, str]:
    """The next batch in the order to ask, with the reason of each sample; and by which rule.

    Row i of what is `seen` belongs to row i of `pool`; where a strategy lacks what it needs,
    another takes its place and the rule says so. The order of rows does not matter, and the same
    seed gives the same batch. The audit part comes first, so that a round left unfinished keeps
    it whole: each sample of the pool is in it with the same probability. Near-duplicates of an
    audit sample are never chosen, and no two of one group as long as there are others. `taken`
    places are taken already, of those that are not promised: the audit is that of the whole batch.
    """
    if config.by_chance:
        seen = Pool()  # what is broken in it keeps nobody from drawing lots
    validate_predictions(pool, seen)
    pool, seen = sorted_by_sample(pool, seen)
    name, rule = usable(config.strategy, seen)
    places = BatchBuilder(min(config.size - taken, len(pool)), np.ones(len(pool), dtype=bool))
    if len(pool):
        _draw_audit(places, pool, config, rng)
        _fill(places, pool, seen, config, name, rng, classes)
    types = {column.name: column.type for column in fields(Pick)}
    batch = pd.DataFrame(places.taken, columns=list(types)).astype(types)  # an empty one, too
    batch["sample_id"] = pool["sample_id"].iloc[batch["row"]].array
    batch["position"] = np.arange(len(batch))
    return batch[BATCH_COLUMNS], rule


def share_of(size: int, share: float) -> int:
    """So many of `size`, rounded up."""
    return math.ceil(round(size * share, 9))  # 30 * 0.1 is 3.0000000000000004


def _draw_audit(
    places: BatchBuilder, pool: pd.DataFrame, config: SelectionConfig, rng: np.random.Generator
) -> None:
    """Draw the audit at random, each sample with the probability that is kept.

    With a `served_share` it is drawn from the served samples, as far as they go: a batch that
    answers drift must measure what drifted, and the others were audited before. Who is `reserved`
    (by name, so by chance) comes first: of the others a guess may have been trained on. Who is
    `taught`, by a near-duplicate that is trained on, is never drawn: a model would know the answer.
    """
    size = share_of(min(config.size, len(pool)), config.audit_share)
    taught = (
        pool["has_duplicate_in_train"].to_numpy()
        if "has_duplicate_in_train" in pool
        else np.zeros(len(pool), bool)
    )
    is_served = (pool["origin"] == "served").to_numpy() & bool(config.served_share)
    reserved = (
        pool["never_pseudo_labelled"].to_numpy()
        if "never_pseudo_labelled" in pool
        else np.ones(len(pool), bool)
    )
    served, others = np.flatnonzero(is_served & ~taught), np.flatnonzero(~is_served & ~taught)
    from_served = min(size, len(served))
    from_others = min(size - from_served, len(others))
    whole = not is_served.any() and taught.mean() <= FEW
    for rows, count in ((served, from_served), (others, from_others)):
        turn = rng.permutation(rows)
        turn = turn[np.argsort(~reserved[turn], kind="stable")]
        for place, row in enumerate(turn[:count]):
            chance, left = 1 / (len(rows) - place), len(pool) - place
            draw = (chance, left) if whole else (np.nan, np.nan)
            places.take(Pick(int(row), "audit", np.nan, count / len(rows), *draw))


def _fill(
    places: BatchBuilder,
    pool: pd.DataFrame,
    seen: Pool,
    config: SelectionConfig,
    name: str,
    rng: np.random.Generator,
    classes: Sequence[str],
) -> None:
    """Fill the places after the audit; what was promised comes before what is left to choose."""
    never = _caps(places, pool, seen, config)
    chooser = _Chooser(places, seen, rng, _best_of_group(pool, seen, rng))
    for row in np.flatnonzero(pool["sample_id"].isin(list(config.named))):
        if not never[row] and places.left and row not in places.rows:
            places.take(Pick(int(row), "named"))
    rest = places.left
    for reason, within, count in _promised(pool, seen, config, rest, classes):
        chooser.fill(name, min(count, places.left), reason=reason, within=within)
    promised = rest > places.left or bool(places.caps.keys() - {"groups"}) or bool(config.named)
    chance = config.random_share if name != "random" else 1.0
    for given_up in (None, "balance", "groups"):
        if given_up in places.caps:
            # Too few classes or groups: more of one is better than idle annotators.
            places.drop(str(given_up), never)
            chooser.anyone = chooser.anyone or given_up == "groups"
        chooser.fill(name, places.left, chance=chance, told=not promised)


def _caps(
    places: BatchBuilder, pool: pd.DataFrame, seen: Pool, config: SelectionConfig
) -> np.ndarray:
    """Put the caps on; return the rows that are never taken: those that resemble the audit."""
    groups = pd.factorize(pool["group_id"])[0]
    held = np.isin(groups, groups[places.rows])
    places.free &= ~held
    places.caps["groups"] = GroupLimit(groups, 1)
    if config.balance and seen.probs is not None:
        most = math.ceil(places.left / seen.probs.shape[1])
        places.caps["balance"] = GroupLimit(seen.probs.argmax(axis=1), most)
    if config.source_share < 1:
        sources = pd.factorize(pool["source"])[0]
        places.caps["sources"] = GroupLimit(sources, share_of(places.size, config.source_share))
        for row in places.rows:
            places.caps["sources"].take(row)
        places.free &= places.caps["sources"].open
    return held


def _promised(
    pool: pd.DataFrame,
    seen: Pool,
    config: SelectionConfig,
    rest: int,
    classes: Sequence[str],
) -> list[tuple[str, np.ndarray, int]]:
    """Places that are for some samples only: the reason, which samples, how many."""
    unknown = [name for name in config.quotas if name not in classes]
    if unknown and seen.probs is not None:
        raise ValueError(f"quotas names {', '.join(unknown)}; the classes are {', '.join(classes)}")
    promised = []
    if seen.probs is not None:
        predicted = seen.probs.argmax(axis=1)
        for name, count in config.quotas.items():
            promised.append(("quota", predicted == list(classes).index(name), count))
    if config.fresh_share:
        age = pd.Timestamp.now(tz="UTC") - pd.to_datetime(pool["added_at"], utc=True)
        is_fresh = (age <= pd.Timedelta(days=config.fresh_days)).to_numpy()
        promised.append(("fresh", is_fresh, share_of(rest, config.fresh_share)))
    if config.served_share:
        is_served = (pool["origin"] == "served").to_numpy()
        promised.append(("served", is_served, share_of(rest, config.served_share)))
    return promised


def _best_of_group(pool: pd.DataFrame, seen: Pool, rng: np.random.Generator) -> np.ndarray:
    """One row of each group of near-duplicates: the one in most doubt, by lot among equals."""
    lot = rng.permutation(len(pool))
    if seen.probs is not None:
        lot = lot[np.argsort(-margin(seen.probs)[lot], kind="stable")]
    first = ~pd.Series(pool["group_id"].to_numpy()[lot]).duplicated().to_numpy()
    best = np.zeros(len(pool), dtype=bool)
    best[lot[first]] = True
    return best


@dataclass
class _Chooser:
    """Asks a strategy for rows until the places are full, and leaves some of them to chance."""

    places: BatchBuilder
    seen: Pool
    rng: np.random.Generator
    best_of_group: np.ndarray
    anyone: bool = False  # also another one of a group

    def fill(
        self,
        name: str,
        count: int,
        *,
        reason: str | None = None,
        within: np.ndarray | None = None,
        chance: float = 0.0,
        told: bool = False,
    ) -> None:
        """Take up to `count` rows; `told` keeps with which probability each was drawn."""
        end = len(self.places.taken) + count
        while len(self.places.taken) < end:
            free = self.places.free if within is None else self.places.free & within
            if not self.anyone:
                free = free & self.best_of_group
            if not free.any():
                return
            wanted = end - len(self.places.taken)
            choice = STRATEGIES[name].choose(self._left(free), wanted, self.rng)
            proposed = zip(choice.rows.tolist(), choice.scores.tolist(), strict=True)
            lot = iter(self.rng.permutation(len(self.places.free)).tolist()) if chance else iter(())
            for row, score in proposed:
                self._draw(lot, chance, end, told)
                if len(self.places.taken) < end and self.places.free[row]:
                    self._take(row, reason or name, score, 1 - chance, chance, told)

    def _draw(self, lot: Iterator[int], chance: float, end: int, told: bool) -> None:
        """Give places to chance until it is the strategy's turn."""
        while len(self.places.taken) < end and chance and self.rng.random() < chance:
            row = next((row for row in lot if self.places.free[row]), None)
            if row is None:
                return
            self._take(row, "random", np.nan, 0.0, chance, told)

    def _take(
        self, row: int, reason: str, score: float, own: float, chance: float, told: bool
    ) -> None:
        left = int(np.count_nonzero(self.places.free))
        odds = own + chance / left if told else np.nan
        drawn = odds, (left if told else np.nan)
        self.places.take(Pick(row, reason, score, np.nan, *drawn))

    def _left(self, free: np.ndarray) -> Pool:
        """The pool with what is taken for training counted among the labelled."""
        taken = [one.row for one in self.places.taken if one.reason != "audit"]
        if self.seen.embeddings is None or not taken:
            return replace(self.seen, allowed=free)
        near = self.seen.embeddings[taken]
        before = self.seen.labelled
        labels = self.seen.labels if self.seen.labels is not None else np.empty(0, int)
        return replace(
            self.seen,
            allowed=free,
            labelled=near if before is None else np.concatenate([before, near]),
            labels=np.concatenate([labels, np.full(len(taken), -1)]),
        )
