"""TrainConfig: what a training can be told, with the defaults that were measured."""

from typing import Annotated

from pydantic import Field

from core.configuration import OneOf, configuration
from models.network.precision import PRECISIONS

AUTO, OFF = "auto", "off"
FULL, LAST, FROZEN = "full", "last", "frozen"
FINE_TUNES = (AUTO, FULL, LAST, FROZEN)


@configuration("train")
class TrainConfig:
    """How a network is trained."""

    epochs: int = Field(
        default=20, ge=1, description="at most; the learning rate falls to zero at the end"
    )
    min_steps: int = Field(  # small snapshots need more epochs than large ones
        default=200, ge=0, description="optimizer steps in all, at least"
    )
    batch_size: int = Field(  # the smallest that keeps a core busy; large enough for BatchNorm
        default=64, ge=2, description="images in one step"
    )
    lr: float = Field(  # AdamW's usual; from scratch, twice that works too
        default=1e-3, gt=0, allow_inf_nan=False, description="highest learning rate, such as 0.001"
    )
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        allow_inf_nan=False,
        description="of matrices and kernels; norms and biases have none",
    )
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises"
    )
    label_smoothing: float = Field(  # a few labels are always wrong
        default=0.05,
        ge=0,
        lt=1,
        description="probability spread over the other classes; more where trust in a label is low",
    )
    augment: bool = Field(  # a few hundred images are otherwise memorised
        default=True, description="crop, rotate and recolour images at random"
    )
    flip: bool = Field(  # mirroring changes digits, signs and letters; turn on for animals
        default=False, description="mirror images at random"
    )
    fine_tune: Annotated[str, OneOf(FINE_TUNES)] = Field(
        default=AUTO,
        description='what is tuned of a pretrained network: "auto" goes by the number of labels, '
        '"frozen" trains the head only, "last" the last layers, "full" all',
    )
    class_weights: Annotated[str, OneOf((AUTO, OFF))] = Field(
        default=AUTO, description='"auto": labels of rare classes weigh more in a long tail'
    )
    consistency: Annotated[str, OneOf((AUTO, OFF))] = (
        Field(  # takes long, and gained nothing where it was measured
            default=OFF,
            description='"auto" trains on with views of pseudo-labelled images where a pretrained '
            "network is tuned, and keeps that if the validation rows gain",
        )
    )
    patience: int = Field(
        default=20, ge=1, description="epochs without improvement after which training stops"
    )
    soft_weight: float = Field(
        default=0.5, ge=0, lt=1, description="of a certain pseudo-label; a label has 1"
    )
    precision: Annotated[str, OneOf(PRECISIONS)] = Field(
        default="auto", description='"fp32" gives the same bits every time on one processor'
    )
    seed: int = Field(default=0, ge=0, description="of everything random in the training")
