"""AdamW with a rate for each depth of the backbone, and the schedule that all of them follow."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.network.network import Network
from models.training.config import TrainConfig
from models.training.recipe import FULL, LAST, Recipe

SLICES = 8  # of a backbone, in the order of depth; each has a learning rate of its own
LAST_SLICES = 2  # that "last" trains


def slices_of(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of the backbone in SLICES of about as many layers each, the first first."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, weight in backbone.named_parameters():
        layers.setdefault(name.rpartition(".")[0], []).append(weight)
    weights = list(layers.values())
    bounds = np.linspace(0, len(weights), SLICES + 1).round().astype(int)
    return [
        [weight for layer in weights[start:end] for weight in layer]
        for start, end in pairwise(bounds)
    ]


def freeze(network: Network, recipe: Recipe) -> None:
    """Leave trainable what the recipe tunes; the head always is."""
    trained = {FULL: SLICES, LAST: LAST_SLICES}.get(recipe.fine_tune, 0)
    for weights in slices_of(network.backbone)[: SLICES - trained]:
        for weight in weights:
            weight.requires_grad_(False)


def train_mode(part: nn.Module, recipe: Recipe) -> None:
    """Training mode, but for layers that are not tuned and norms that keep their statistics.

    In training mode BatchNorm changes its statistics whether or not its weights are trained.
    """
    part.train()
    if not isinstance(part, Network):
        return
    for layer in part.backbone.modules():
        weights = list(layer.parameters(recurse=False))
        is_norm = isinstance(layer, _BatchNorm)
        if (is_norm and recipe.keeps_norms) or (
            weights and not any(weight.requires_grad for weight in weights)
        ):
            layer.eval()


def optimizer_of(part: nn.Module, config: TrainConfig, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; each group has its `share` of the learning rate. Norms and biases do not decay."""
    groups: list[dict[str, Any]] = []
    for share, weights in _shares(part, recipe):
        trained = [weight for weight in weights if weight.requires_grad]
        groups += [
            {"params": [one for one in trained if one.ndim > 1], "share": share},
            {"params": [one for one in trained if one.ndim <= 1], "share": share,
             "weight_decay": 0.0},
        ]  # fmt: skip
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _shares(part: nn.Module, recipe: Recipe) -> list[tuple[float, list[nn.Parameter]]]:
    """Parameters with their share of the learning rate: the deeper, the more."""
    if recipe.first_rate == 1 or not isinstance(part, Network):
        return [(1.0, list(part.parameters()))]
    slices = slices_of(part.backbone)
    falls = [recipe.first_rate ** (1 - depth / (SLICES - 1)) for depth in range(SLICES)]
    shares = [recipe.backbone_rate * fall for fall in falls]
    return [*zip(shares, slices, strict=True), (1.0, list(part.head.parameters()))]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def rate_share(step: int, total: int, warmup: float) -> float:
    """The share of the learning rate at `step`: linear warm-up, then a cosine to zero."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
