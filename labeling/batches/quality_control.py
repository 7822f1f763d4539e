"""A batch as annotators get it: gold mixed in, a share blind, a share for several annotators.

The annotator's tool shows the least confident pre-annotation first. What was drawn at random (gold,
audit and random samples) stands anywhere among the rest, so that its place reveals nothing.
"""

import math

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import configuration
from core.table_schema import Schema, Type
from labeling.batches.batch import Batch
from labeling.batches.reasons import sentences
from labeling.ledger.reasons import RANDOM_REASONS, RELABEL_REASONS, Reason

SHOWN = Schema(
    "shown to annotators",
    {
        "sample_id": Type.TEXT,
        "stage": Type.TEXT,  # "queue", "review", or that of a duel
        "why": Type.TEXT,
        "pre_annotation": Type.OPTIONAL_TEXT,
        "confidence": Type.OPTIONAL_NUMBER,
        "pre_annotation_model": Type.OPTIONAL_TEXT,
        "most_similar": Type.OPTIONAL_TEXT,
        "blind": Type.BOOLEAN,
        "required_annotators": Type.INTEGER,
    },
    key=("sample_id",),
)


@configuration("queue")
class QualityControlConfig:
    """What is added to a batch to learn about the annotators. Shares are rounded up."""

    gold_share: float = Field(  # one in twenty: enough to judge an annotator within a few rounds
        default=0.05, ge=0, le=1, description="gold samples mixed in, to check annotators"
    )
    blind_share: float = Field(  # shows how far the pre-annotation leads annotators
        default=0.1, ge=0, le=1, description="share shown without the model's pre-annotation"
    )
    overlap: int = Field(
        default=2, ge=2, description="annotators who see each sample of the overlap"
    )
    overlap_share: float = Field(  # 0.1 shows how far annotators agree; needs as many of them
        default=0.0, ge=0, le=1, description="share that several annotators label"
    )


def pick_gold(
    gold: pd.DataFrame, batch_size: int, config: QualityControlConfig, rng: np.random.Generator
) -> pd.DataFrame:
    """The gold samples for a batch of that size: asked least before, ties broken at random.

    `gold` has sample_id and `asked`, how often each was asked before; its rows come back whole.
    """
    size = math.ceil(round(batch_size * config.gold_share, 9))
    ordered = gold.sort_values("sample_id").assign(lot=rng.permutation(len(gold)))
    return ordered.sort_values(["asked", "lot"]).head(size).drop(columns="lot")


def add_quality_controls(
    batch: Batch, gold: Batch, config: QualityControlConfig, rng: np.random.Generator
) -> Batch:
    """The batch with `gold` mixed in, a share of it blind, a share for several annotators.

    The same seed gives the same batch.
    """
    mixed = _mix(batch, gold, rng)
    rows = mixed.rows
    blind = _drawn(len(mixed), config.blind_share, rng)
    # Without a pre-annotation nothing is hidden, and nothing can be learned from hiding it.
    blind &= rows["pre_annotation"].notna().to_numpy()
    blind |= (rows["reason"] == Reason.RELABEL).to_numpy()  # a second look that nothing leads
    several = _drawn(len(mixed), config.overlap_share, rng)
    return mixed.with_columns(blind=blind, required_annotators=np.where(several, config.overlap, 1))


def mask_for_annotators(
    batch: Batch, rng: np.random.Generator, *, stage: str = "queue"
) -> pd.DataFrame:
    """What annotators may know of the batch, as SHOWN declares: the stage, why, the pre-annotation.

    Gold gets the reason of a sample that a strategy chose, and whatever was drawn at random takes a
    place among the confidences of the rest.
    """
    rows = batch.rows
    return SHOWN.check(
        rows.assign(
            stage=np.where(rows["reason"] == Reason.REVIEW, "review", stage),
            why=sentences(_shown_reasons(rows["reason"], rng)),
            confidence=_shown_confidences(rows, rng),
        )[list(SHOWN.columns)]
    )


def _shown_confidences(rows: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    """The confidences, those of what was drawn at random anywhere among the others."""
    confidences = rows["confidence"].copy()
    is_drawn, has_one = rows["reason"].isin(RANDOM_REASONS), confidences.notna()
    others = confidences[~is_drawn & has_one]
    if len(others):
        moved = is_drawn & has_one
        confidences[moved] = rng.uniform(others.min(), others.max(), moved.sum())
    return confidences


def _shown_reasons(reasons: pd.Series, rng: np.random.Generator) -> pd.Series:
    """The reasons, gold with that of another sample: one that a strategy chose, if there is one."""
    is_gold = reasons == Reason.GOLD
    others = reasons[~is_gold & ~reasons.isin(RELABEL_REASONS)]
    by_strategy = others[~others.isin(RANDOM_REASONS)]
    models = (by_strategy if len(by_strategy) else others).to_numpy()
    drawn = rng.integers(max(len(models), 1), size=int(is_gold.sum()))
    shown = reasons.copy()
    shown[is_gold] = models[drawn] if len(models) else str(Reason.RANDOM)
    return shown


def _mix(batch: Batch, gold: Batch, rng: np.random.Generator) -> Batch:
    """Gold at random places; the others stay in their order."""
    if not len(gold):
        return batch
    drawn = gold.rows.assign(position=rng.uniform(-1, len(batch), len(gold)))
    mixed = pd.concat([batch.rows, drawn]).sort_values("position", kind="stable")
    return Batch(mixed.assign(position=np.arange(len(mixed))))


def _drawn(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(size, dtype=bool)
    chosen[rng.permutation(size)[: math.ceil(round(size * share, 9))]] = True
    return chosen
