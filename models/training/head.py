"""The best linear head on embeddings that do not change: solved, not stepped towards.

The weights have a normal prior whose variance, the strength, is chosen by cross-validation over
groups of near-duplicates. Embeddings are standardised first, with rows of about length one, so that
a strength means the same for every backbone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from models.training.rows import Rows

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # from strong regularisation to weak
USUAL = 10.0  # with too few rows to compare
MIN_ROWS, MAX_ROWS = 20, 1000  # labels that the strengths are compared on
FOLDS = 3
STEPS = 100  # of L-BFGS


@dataclass(frozen=True)
class Solved:
    """How a head was regularised."""

    strength: float
    losses: dict[float, float]  # held-out loss by strength, of those that were compared


def solve_head(rows: Rows, head: nn.Module, seed: int) -> Solved:
    """Give a linear head the weights that fit embedded rows best, by weighted loss and prior."""
    if not isinstance(head, nn.Linear):
        raise TypeError(f"the head is {type(head).__name__}; only a linear one can be solved")
    inputs = rows.take(np.arange(len(rows))).float()
    mean, spread = inputs.mean(0), inputs.std(0, correction=0) + 1e-6
    spread = spread * inputs.shape[1] ** 0.5
    inputs = (inputs - mean) / spread
    outputs = head.out_features
    strength, losses = _strength(inputs, rows, outputs, np.random.default_rng(seed))
    solution = _solved(inputs, rows, np.arange(len(rows)), outputs, strength)
    weight = (solution[:-1] / spread[:, None]).T
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(solution[-1] - weight @ mean)
    return Solved(strength, losses)


def _strength(
    inputs: torch.Tensor, rows: Rows, outputs: int, rng: np.random.Generator
) -> tuple[float, dict[float, float]]:
    """The strength with the lowest loss on labels that were held out."""
    labelled = rng.permutation(np.flatnonzero(~rows.soft))[:MAX_ROWS]
    fold = rng.permutation(rows.groups.max(initial=0) + 1)[rows.groups[labelled]] % FOLDS
    if len(labelled) < MIN_ROWS or len(set(fold)) < FOLDS:
        return USUAL, {}
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for part in range(FOLDS):
        learnt, held = labelled[fold != part], torch.from_numpy(labelled[fold == part])
        solution = None
        for strength in STRENGTHS:
            solution = _solved(inputs, rows, learnt, outputs, strength, start=solution)
            raw = inputs[held] @ solution[:-1] + solution[-1]
            loss = rows.kind.loss(raw, rows.targets[held]).double().sum().item()
            losses[strength] += loss / len(labelled)
    return min(losses, key=lambda strength: losses[strength]), losses


def _solved(
    inputs: torch.Tensor,
    rows: Rows,
    numbers: np.ndarray,
    outputs: int,
    strength: float,
    *,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """The weights [width + 1, outputs], the last row for the bias, fitted to rows by L-BFGS."""
    chosen = torch.from_numpy(numbers)
    known, targets = inputs[chosen], rows.targets[chosen]
    weights, smoothing = rows.weights[chosen], rows.smoothing[chosen]
    shape = inputs.shape[1] + 1, outputs

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        head = torch.from_numpy(flat).float().view(shape).requires_grad_()
        raw = known @ head[:-1] + head[-1]
        total = (rows.kind.loss(raw, targets, smoothing=smoothing) * weights).sum()
        total = total + head[:-1].square().sum() / (2 * strength)
        total.backward()
        slope = head.grad
        assert slope is not None
        return total.item(), slope.double().numpy().ravel()

    first = torch.zeros(shape) if start is None else start
    solution = minimize(loss, first.double().numpy().ravel(), jac=True, method="L-BFGS-B",
                     options={"maxiter": STEPS, "ftol": 1e-7, "gtol": 1e-4})  # fmt: skip
    return torch.from_numpy(solution.x).float().view(shape)
