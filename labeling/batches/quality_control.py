"""How a batch stands before people: gold mixed in, some without the guess, some for several people.

The annotator's tool shows the least confident guess first. What was drawn at random (gold, audit,
the random arm) stands anywhere among the rest, so that a place in the queue tells nothing.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from core.configuration import configuration

GOLD, REVIEW, SECOND_LOOK = "gold", "review", "second_look"  # reasons that no strategy gives
LOOKED_AGAIN = (REVIEW, SECOND_LOOK)  # at a label that is there
DRAWN = ("audit", "random", GOLD)  # reasons that have nothing to do with the model's doubt


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
    mixed["blind"] &= mixed["guess"].notna() if "guess" in mixed else False
    mixed["blind"] |= mixed["reason"] == SECOND_LOOK  # nobody is told what to find
    several = _drawn(len(mixed), config.overlap_share, rng)
    mixed["wanted"] = np.where(several, config.overlap, 1)
    return mixed


def mask_for_annotators(batch: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The batch as the annotator's tool gets it: the stage, why each was chosen, its place.

    Gold is told like one of those that a strategy chose, and whatever was drawn at random takes a
    place among the confidences of the rest.
    """
    shown = batch.copy()
    shown["stage"] = np.where(shown["reason"] == REVIEW, "review", "queue")
    is_drawn = shown["reason"].isin(DRAWN) & shown["confidence"].notna()
    doubted = shown[~is_drawn & shown["confidence"].notna()]
    if len(doubted):
        least, most = doubted["confidence"].min(), doubted["confidence"].max()
        shown.loc[is_drawn, "confidence"] = rng.uniform(least, most, int(is_drawn.sum()))
        is_gold = shown["reason"] == GOLD
        like = doubted.iloc[rng.integers(len(doubted), size=int(is_gold.sum()))]
        for told in ("score", "reason"):
            shown.loc[is_gold, told] = like[told].to_numpy()
    shown["why"] = [_why(row) for row in shown.itertuples()]
    return shown.assign(reason=batch["reason"])


def _mix(batch: pd.DataFrame, gold: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Gold at random places; the others keep their order."""
    if gold.empty:
        return batch.copy()
    gold = gold.assign(reason=GOLD, position=rng.uniform(-1, len(batch), len(gold)))
    mixed = pd.concat([batch, gold], ignore_index=True).sort_values("position", kind="stable")
    return mixed.assign(position=np.arange(len(mixed))).reset_index(drop=True)


def _drawn(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(size, dtype=bool)
    chosen[rng.permutation(size)[: math.ceil(round(size * share, 9))]] = True
    return chosen


def _why(row: Any) -> str:
    """One sentence for a curious annotator; it names no class."""
    if row.reason in LOOKED_AGAIN:
        words = "its label deserves a second look"
    elif row.reason in DRAWN or not isinstance(row.guess_model, str):
        words = "drawn at random"
    else:
        score = "" if pd.isna(row.score) else f", score {row.score:.2f}"
        words = f"chosen by {row.reason}{score}, with {row.guess_model}"
    neighbour = getattr(row, "neighbour", None)
    return f"{words}; looks most like {neighbour[:12]}" if isinstance(neighbour, str) else words
