"""The recipe: how a network is trained on the labels at hand, and why.

It follows from what is known before the training (labels, weights, configuration), so that the
record of a run has it from the start. From scratch it is plain training of the whole network.
"""

from dataclasses import dataclass

import pandas as pd

from models.network.network import NetworkConfig
from models.training.config import AUTO, FROZEN, FULL, LAST, TrainConfig
from models.training.rows import SOFT

# Labels from which on more than the head, and the whole network, is tuned. EfficientNet-Lite0 at
# 64 px, 200 random labels of CIFAR-10: head .432, last layers .490, all .469 right.
FEW, MANY = 100, 300
# Of the head's learning rate, for the last layers of the backbone, and of that for the first ones:
# 500 labels .688 right, .656 with 0.5 and 0.1.
BACKBONE_RATE, FIRST_RATE = 1.0, 0.3
CHANCE = 5  # labels added to each class: of 50 labels, classes differ fivefold by chance alone
TAIL = 5.0  # times as many labels of the commonest class as of the rarest: then classes are weighed
# Of a class's labels: that evens the classes out. CIFAR-10 with a tail of 100, 1,000 labels: right
# for .427 of even classes (.371 without weights) and .661 of the tail's own (.636).
TAIL_POWER = 1.0


@dataclass(frozen=True)
class Recipe:
    """What is tuned, how fast, and how the rows are weighed."""

    fine_tune: str = FULL  # or "last", "frozen"
    starts_solved: bool = False  # the head is fitted to the embeddings before anything is tuned
    # BatchNorm keeps the statistics of the weights that it starts from: with 500 labels .656 right,
    # with statistics of the labels' images .567.
    keeps_norms: bool = False
    averaged: bool = False  # the network is the moving average of its weights over the steps
    backbone_rate: float = 1.0  # share of the learning rate at the last layers of the backbone
    first_rate: float = 1.0  # share of that at the first layers
    consistency: bool = False  # tried on the pseudo-labelled images, kept if the val rows gain
    class_weights: dict[str, float] | None = None
    why: tuple[str, ...] = ()


def choose_recipe(table: pd.DataFrame, config: TrainConfig, network: NetworkConfig) -> Recipe:
    """The recipe for the rows of a snapshot."""
    labels = table.loc[table["split"] == "train", "label"]
    weights, weighed = _class_weights(labels, config)
    if network.weights is None:
        why = _sentences("the network starts from scratch: all of it is trained", weighed)
        return Recipe(class_weights=weights, why=why)
    part, reason = _part(len(labels), config)
    tuned = part != FROZEN
    has_pool = bool(table["split"].eq(SOFT).any()) and config.soft_weight > 0
    consistency = tuned and has_pool and config.consistency == AUTO
    why = _sentences(
        reason,
        "the head starts at its best on the embeddings" if tuned else "",
        weighed,
        "images of the pool are tried for consistency" if consistency else "",
    )
    return Recipe(
        fine_tune=part,
        starts_solved=True,
        keeps_norms=tuned,
        averaged=tuned,
        backbone_rate=BACKBONE_RATE,
        first_rate=FIRST_RATE,
        consistency=consistency,
        class_weights=weights,
        why=why,
    )


def _part(labels: int, config: TrainConfig) -> tuple[str, str]:
    """Which part of the network is tuned, and the reason."""
    if config.fine_tune != AUTO:
        return config.fine_tune, f"fine_tune is {config.fine_tune!r}"
    if labels < FEW:
        return FROZEN, f"{labels} labels are fewer than {FEW}: the head alone is trained"
    if labels < MANY:
        return LAST, f"{labels} labels are fewer than {MANY}: the last layers are trained"
    return FULL, f"{labels} labels are {MANY} or more: the whole network is trained"


def _class_weights(labels: pd.Series, config: TrainConfig) -> tuple[dict[str, float] | None, str]:
    """The weight of a label by its class, one in the mean over the labels; None for all alike."""
    counts = labels.value_counts()
    shrunk = counts + CHANCE
    if config.class_weights != AUTO or len(counts) < 2 or shrunk.max() < TAIL * shrunk.min():
        return None, ""
    raw = shrunk.astype(float) ** -TAIL_POWER
    weights = raw / ((raw * counts).sum() / counts.sum())
    words = f"labels of rare classes weigh more: {counts.max()} of the commonest, {counts.min()}"
    return dict(weights.sort_index()), f"{words} of the rarest"


def _sentences(*why: str) -> tuple[str, ...]:
    return tuple(one for one in why if one)
