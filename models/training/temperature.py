"""The temperature: one number by which a network's logits are divided, fitted on validation rows.

A network that was trained to the end is too sure of itself, one that was trained with label
smoothing or for a short time is not sure enough. Dividing the logits by one number mends most of
that and changes no answer (Guo, Pleiss, Sun and Weinberger, 2017).
"""

import math

import torch

from models.kinds import Kind

BOUNDS = 0.1, 10.0
# Of log T around 0: a few rows that are all right would ask for a temperature of zero.
SPREAD = 0.5


def fit_temperature(raw: torch.Tensor, targets: torch.Tensor, kind: Kind) -> float:
    """The temperature with the lowest loss on rows that were not trained on; 1 without rows.

    `raw` is what the head returns for the rows. Few rows move it little away from 1: its logarithm
    has a normal prior. It is never one that makes the loss on these rows higher than 1 does.
    """
    from scipy.optimize import minimize_scalar

    if not len(raw):
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = kind.scaled(raw, math.exp(log_temperature))
        prior = (log_temperature / SPREAD) ** 2 / 2
        return kind.loss(scaled, targets).double().sum().item() + prior

    low, high = map(math.log, BOUNDS)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return round(math.exp(best.x), 4) if best.fun < loss(0.0) else 1.0
