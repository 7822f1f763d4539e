"""How a batch stands before people: gold mixed in, some without the guess, some for several people.

The annotator's tool shows the least confident guess first. What was drawn at random (gold, audit,
the random arm) stands anywhere among the rest, so that a place in the queue tells nothing.
"""

import math

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import configuration
from labeling.batches.reasons import sentences
from labeling.ledger.reasons import RANDOM_REASONS, RELABEL_REASONS, Reason


@configuration("queue")
class QualityControlConfig:
    """What is added to a batch to learn about the annotators. Shares are rounded up."""

    gold_share: float = Field(  # one in twenty: enough to judge somebody within a few rounds
        default=0.05, ge=0, le=1, description="gold samples mixed in, to check annotators"
    )
    blind_share: float = Field(  # tells how far the pre-annotation leads people
        default=0.1, ge=0, le=1, description="share shown without the model's pre-annotation"
    )
    overlap: int = Field(
        default=2, ge=2, description="annotators who see each sample of the overlap"
    )
    overlap_share: float = Field(  # 0.1 tells how far people agree; needs as many annotators
        default=0.0, ge=0, le=1, description="share that several annotators label"
    )


def pick_gold(
    gold: pd.DataFrame, batch_size: int, config: QualityControlConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """The gold whose turn it is in a batch of that size: asked least before, by lot among equals.

    `gold` has sample_id and `asked`, how often each was asked before.
    """
    size = math.ceil(round(batch_size * config.gold_share, 9))
    ordered = gold.sort_values("sample_id").assign(lot=rng.permutation(len(gold)))
    return ordered.sort_values(["asked", "lot"]).head(size).drop(columns=["asked", "lot"])


def add_quality_controls(
    batch: pd.DataFrame, gold: pd.DataFrame, config: QualityControlConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """The batch with `gold` among it, how many people each sample is for, and which are blind.

    The same seed gives the same queue.
    """
    mixed = _mix(batch, gold, rng)
    mixed["blind"] = _drawn(len(mixed), config.blind_share, rng)
    # Where there is no guess nothing is hidden, and nothing can be learned from it.
    mixed["blind"] &= mixed["pre_annotation"].notna() if "pre_annotation" in mixed else False
    mixed["blind"] |= mixed["reason"] == Reason.RELABEL  # nobody is told what to find
    several = _drawn(len(mixed), config.overlap_share, rng)
    mixed["required_annotators"] = np.where(several, config.overlap, 1)
    return mixed


def mask_for_annotators(batch: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The batch as the annotator's tool gets it: the stage, why each was chosen, its place.

    Gold is told like one of those that a strategy chose, and whatever was drawn at random takes a
    place among the confidences of the rest.
    """
    shown = batch.copy()
    shown["stage"] = np.where(shown["reason"] == Reason.REVIEW, "review", "queue")
    is_drawn, is_gold = shown["reason"].isin(RANDOM_REASONS), shown["reason"] == Reason.GOLD
    with_confidence = shown["confidence"].notna()
    doubted = shown.loc[~is_drawn & with_confidence, "confidence"]
    if len(doubted):
        moved = is_drawn & with_confidence
        shown.loc[moved, "confidence"] = rng.uniform(doubted.min(), doubted.max(), moved.sum())
    others = shown.loc[~is_gold & ~shown["reason"].isin(RELABEL_REASONS), "reason"]
    chosen = (
        others[~others.isin(RANDOM_REASONS)] if (~others.isin(RANDOM_REASONS)).any() else others
    )
    like = rng.integers(max(len(chosen), 1), size=int(is_gold.sum()))
    shown.loc[is_gold, "reason"] = chosen.to_numpy()[like] if len(chosen) else "random"
    shown["why"] = sentences(shown["reason"])
    return shown.assign(reason=batch["reason"])


def _mix(batch: pd.DataFrame, gold: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Gold at random places; the others keep their order."""
    if gold.empty:
        return batch.copy()
    gold = gold.assign(reason=Reason.GOLD, position=rng.uniform(-1, len(batch), len(gold)))
    mixed = pd.concat([batch, gold], ignore_index=True).sort_values("position", kind="stable")
    return mixed.assign(position=np.arange(len(mixed))).reset_index(drop=True)


def _drawn(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(size, dtype=bool)
    chosen[rng.permutation(size)[: math.ceil(round(size * share, 9))]] = True
    return chosen
