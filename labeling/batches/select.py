"""The next batch: candidates and predictions in, samples in the order to ask with reasons out.

A strategy (see `labeling/strategies`) proposes rows in the order to ask. Here is what holds with
each of them: the audit, the random draws, quotas, limits and near-duplicates.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from core.configuration import OneOf, configuration
from labeling.batches.batch import Batch
from labeling.batches.checks import sorted_by_sample, validate_predictions
from labeling.batches.slots import BatchBuilder, GroupLimit, Pick
from labeling.ledger.reasons import Origin, Reason
from labeling.strategies import STRATEGIES, Pool
from labeling.strategies.substitute import usable
from labeling.strategies.uncertainty import margin


@configuration("selection")
class SelectionConfig:
    """How a batch is made up. Shares are rounded up: one above 0 gives at least one sample."""

    strategy: Annotated[str, OneOf(STRATEGIES)] = Field(
        default="auto", description="how to choose; auto tries several on the labels so far"
    )
    size: int = Field(  # minutes of one annotator's work; much smaller ones waste training runs
        default=50, ge=1, description="samples in the batch"
    )
    audit_share: float = Field(  # the price of honest figures: these are never trained on
        default=0.1,
        ge=0,
        le=1,
        description="share for the audit; raised, up to half the batch, until there are enough "
        "audit labels for a verdict",
    )
    random_share: float = Field(  # checks the claim that choosing pays for life
        default=0.05, ge=0, le=1, description="probability that a place is filled at random"
    )
    served_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share from served traffic, which the audit then begins with; raised to answer "
        "drift",
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
        """Whether chance alone decides, so that no predictions are needed."""
        return self.strategy == "random" and not (self.balance or self.quotas or self.relabel_share)


def select_batch(
    candidates: pd.DataFrame,
    predictions: Pool,
    config: SelectionConfig,
    rng: np.random.Generator,
    *,
    classes: Sequence[str] = (),
    audit: Batch | None = None,
    taken: int = 0,
    wanted: Mapping[str, str] | None = None,
    covered: Collection[str] = (),
) -> tuple[Batch, str]:
    """The next batch in the order to ask, and the rule that chose it, in words.

    `candidates` is a table of CANDIDATES; row i of the predictions belongs to its row i. Where a
    strategy lacks what it needs, another takes its place and the rule says so. The order of rows
    does not matter, and the same seed gives the same batch. `audit`, which no strategy gets, comes
    first, so that a round left unfinished has it whole. No two of one group are chosen, and none of
    the `covered` groups, of which one has a label or waits for it, as long as there are others.
    `taken` places are taken already, of those that are not promised.
    """
    audit = Batch.of([], reason=str(Reason.AUDIT)) if audit is None else audit
    if config.by_chance:
        predictions = Pool()  # broken predictions do not prevent a random draw
    validate_predictions(candidates, predictions)
    candidates, predictions = sorted_by_sample(candidates, predictions)
    name, rule = usable(config.strategy, predictions)
    size = min(config.size - taken - len(audit), len(candidates))
    builder = BatchBuilder(size, np.ones(len(candidates), dtype=bool))
    if len(candidates):
        _take_wanted(builder, candidates, predictions, config, wanted or {}, set(covered))
        rule = _fill(builder, candidates, predictions, config, name, rng, classes) or rule
    return audit.followed_by(_batch_of(builder.taken, candidates)), rule


def share_of(size: int, share: float) -> int:
    """The share of `size`, rounded up."""
    return math.ceil(round(size * share, 9))  # 30 * 0.1 is 3.0000000000000004


def _batch_of(picks: Sequence[Pick], candidates: pd.DataFrame) -> Batch:
    return Batch.of(
        candidates["sample_id"].iloc[[pick.row for pick in picks]].tolist(),
        reason=[str(pick.reason) for pick in picks],
        score=[pick.score for pick in picks],
        draw_probability=[pick.draw_probability for pick in picks],
        draws_from=[pick.draws_from for pick in picks],
    )


def _fill(
    builder: BatchBuilder,
    candidates: pd.DataFrame,
    predictions: Pool,
    config: SelectionConfig,
    name: str,
    rng: np.random.Generator,
    classes: Sequence[str],
) -> str:
    """Fill the places that are left; what was promised comes before what is left to choose.

    What the strategy decided comes back, if it is one that decides among others.
    """
    chooser = _Chooser(builder, predictions, rng, _best_of_group(candidates, predictions, rng))
    for row in np.flatnonzero(candidates["sample_id"].isin(list(config.named))):
        if builder.left:
            builder.take(Pick(int(row), Reason.NAMED))
    rest = builder.left
    for reason, within, count in _promised(candidates, predictions, config, rest, classes):
        chooser.fill(name, min(count, builder.left), reason=reason, within=within)
    promised = bool(builder.taken) or bool(builder.limits.keys() - {"groups"})
    chance = config.random_share if name != Reason.RANDOM else 1.0
    for ended in (None, "balance", "groups"):
        if ended in builder.limits:
            # Too few classes or groups: more of one is better than idle annotators.
            builder.drop(str(ended))
            chooser.several_of_group = chooser.several_of_group or ended == "groups"
        chooser.fill(name, builder.left, chance=chance, with_odds=not promised)
    return chooser.why


def _take_wanted(
    builder: BatchBuilder,
    candidates: pd.DataFrame,
    predictions: Pool,
    config: SelectionConfig,
    wanted: Mapping[str, str],
    covered: set[str],
) -> None:
    """Set the limits, and take the wanted samples that they let through."""
    _set_limits(builder, candidates, predictions, config)
    builder.fill_groups("groups", candidates["group_id"].isin(covered).to_numpy())
    rows = pd.Index(candidates["sample_id"]).get_indexer(pd.Index(list(wanted)))
    for row, reason in zip(rows.tolist(), wanted.values(), strict=True):
        if row >= 0 and builder.left and builder.free[row]:
            builder.take(Pick(row, reason))


def _set_limits(
    builder: BatchBuilder, candidates: pd.DataFrame, predictions: Pool, config: SelectionConfig
) -> None:
    """Set the limits."""
    groups = pd.factorize(candidates["group_id"])[0]
    builder.limits["groups"] = GroupLimit(groups, 1)
    if config.balance and predictions.probs is not None:
        most = math.ceil(builder.left / predictions.probs.shape[1])
        builder.limits["balance"] = GroupLimit(predictions.probs.argmax(axis=1), most)
    if config.source_share < 1:
        sources = pd.factorize(candidates["source"])[0]
        limit = GroupLimit(sources, share_of(builder.size, config.source_share))
        builder.limits["sources"] = limit


def _promised(
    candidates: pd.DataFrame,
    predictions: Pool,
    config: SelectionConfig,
    rest: int,
    classes: Sequence[str],
) -> list[tuple[Reason, np.ndarray, int]]:
    """Places that are for certain samples only: the reason, which samples, how many."""
    unknown = [name for name in config.quotas if name not in classes]
    if unknown and predictions.probs is not None:
        raise ValueError(f"quotas names {', '.join(unknown)}; the classes are {', '.join(classes)}")
    promised = []
    if predictions.probs is not None:
        predicted = predictions.probs.argmax(axis=1)
        for name, count in config.quotas.items():
            promised.append((Reason.QUOTA, predicted == list(classes).index(name), count))
    if config.fresh_share:
        age = pd.Timestamp.now(tz="UTC") - pd.to_datetime(candidates["added_at"], utc=True)
        is_fresh = (age <= pd.Timedelta(days=config.fresh_days)).to_numpy()
        promised.append((Reason.FRESH, is_fresh, share_of(rest, config.fresh_share)))
    if config.served_share:
        is_served = (candidates["origin"] == Origin.SERVED).to_numpy()
        promised.append((Reason.SERVED, is_served, share_of(rest, config.served_share)))
    return promised


def _best_of_group(
    candidates: pd.DataFrame, predictions: Pool, rng: np.random.Generator
) -> np.ndarray:
    """One row of each group of near-duplicates: the least certain one, ties broken at random."""
    order = rng.permutation(len(candidates))
    if predictions.probs is not None:
        order = order[np.argsort(-margin(predictions.probs)[order], kind="stable")]
    first = ~pd.Series(candidates["group_id"].to_numpy()[order]).duplicated().to_numpy()
    best = np.zeros(len(candidates), dtype=bool)
    best[order[first]] = True
    return best


@dataclass
class _Chooser:
    """Takes a strategy's rows until the places are full, and leaves a share of them to chance."""

    builder: BatchBuilder
    predictions: Pool
    rng: np.random.Generator
    best_of_group: np.ndarray
    several_of_group: bool = False
    why: str = ""  # what the strategy decided, when it was first asked

    def fill(
        self,
        name: str,
        count: int,
        *,
        reason: str | None = None,
        within: np.ndarray | None = None,
        chance: float = 0.0,
        with_odds: bool = False,
    ) -> None:
        """Take up to `count` rows; `with_odds` records the probability that each was drawn with."""
        builder = self.builder
        end = len(builder.taken) + count
        while len(builder.taken) < end:
            free = builder.free if within is None else builder.free & within
            if not self.several_of_group:
                free = free & self.best_of_group
            if not free.any():
                return
            needed = end - len(builder.taken)
            choice = STRATEGIES[name].choose(self._remaining(free), needed, self.rng)
            self.why = self.why or choice.why
            by = choice.by or (name,) * len(choice.rows)
            proposed = zip(choice.rows.tolist(), choice.scores.tolist(), by, strict=True)
            lot = iter(self.rng.permutation(len(builder.free)).tolist()) if chance else iter(())
            for row, score, wanted_by in proposed:
                self._draw(lot, chance, end, with_odds)
                if len(builder.taken) < end and builder.free[row]:
                    self._take(row, reason or wanted_by, score, 1 - chance, chance, with_odds)

    def _draw(self, lot: Iterator[int], chance: float, end: int, with_odds: bool) -> None:
        """Give places to chance until it is the strategy's turn."""
        builder = self.builder
        while len(builder.taken) < end and chance and self.rng.random() < chance:
            row = next((row for row in lot if builder.free[row]), None)
            if row is None:
                return
            self._take(row, Reason.RANDOM, np.nan, 0.0, chance, with_odds)

    def _take(
        self, row: int, reason: str, score: float, own: float, chance: float, with_odds: bool
    ) -> None:
        left = int(np.count_nonzero(self.builder.free))
        draw = (own + chance / left, left) if with_odds else (np.nan, np.nan)
        self.builder.take(Pick(row, reason, score, *draw))

    def _remaining(self, free: np.ndarray) -> Pool:
        """The pool with what is taken for training counted among the labelled."""
        predictions = self.predictions
        taken = self.builder.rows
        if predictions.embeddings is None or not taken:
            return replace(predictions, allowed=free)
        new = predictions.embeddings[taken]
        before = predictions.labelled
        labels = predictions.labels if predictions.labels is not None else np.empty(0, int)
        return replace(
            predictions,
            allowed=free,
            labelled=new if before is None else np.concatenate([before, new]),
            labels=np.concatenate([labels, np.full(len(taken), -1)]),
        )
