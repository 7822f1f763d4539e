"""The solved head: at its optimum, regularised by what was held out, the same every time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.kinds import DEFAULT, KINDS
from models.training import head as module
from models.training.head import MIN_ROWS, STRENGTHS, USUAL, solve_head
from models.training.rows import Rows

KIND = KINDS[DEFAULT]
WIDTH = 12


def embedded(count: int, *, noise: float, seed: int = 0, copies: int = 1) -> Rows:
    """Rows of three classes around their centres, each `copies` times in a group."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.integers(0, 3, count), copies)
    centres = rng.normal(size=(3, WIDTH))
    points = np.repeat(rng.normal(scale=noise, size=(count, WIDTH)), copies, axis=0)
    inputs = torch.from_numpy(5 + 3 * (centres[classes] + points)).float()
    total = count * copies
    return Rows(
        take=lambda rows: inputs[torch.from_numpy(rows)],
        targets=torch.from_numpy(classes),
        weights=torch.ones(total),
        smoothing=torch.zeros(total),
        truths=np.array(["a", "b", "c"])[classes],
        groups=np.repeat(np.arange(count), copies),
        soft=np.zeros(total, bool),
        classes=["a", "b", "c"],
        kind=KIND,
    )


def solved(rows: Rows, seed: int = 0):
    head = nn.Linear(WIDTH, 3)
    return head, solve_head(rows, head, seed)


def penalised(head: nn.Linear, rows: Rows, strength: float) -> torch.Tensor:
    """The loss that a head minimises, from its definition."""
    inputs = rows.take(np.arange(len(rows)))
    spread = inputs.std(0, correction=0) + 1e-6
    raw = head(inputs)
    prior = (head.weight * spread * WIDTH**0.5).square().sum() / (2 * strength)
    return (KIND.loss(raw, rows.targets) * rows.weights).sum() + prior


def test_no_step_in_any_direction_makes_it_better():
    rows = embedded(60, noise=1.5)
    head, result = solved(rows)
    best = penalised(head, rows, result.strength).item()
    rng = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 1e-1):
        moved = nn.Linear(WIDTH, 3)
        with torch.no_grad():
            moved.weight.copy_(head.weight + size * torch.randn(3, WIDTH, generator=rng))
            moved.bias.copy_(head.bias + size * torch.randn(3, generator=rng))
        assert penalised(moved, rows, result.strength).item() > best


def test_noisy_rows_are_regularised_more_than_clear_ones():
    noisy, clear = (solved(embedded(90, noise=noise))[1] for noise in (3.0, 0.1))
    assert set(noisy.losses) == set(STRENGTHS)
    assert noisy.strength == min(noisy.losses, key=noisy.losses.__getitem__)
    assert noisy.strength < clear.strength


def test_near_duplicates_are_held_out_together():
    """Copies in two folds would make learning by heart look best."""
    copied = embedded(40, noise=3.0, copies=5)
    apart = replace(copied, groups=np.arange(len(copied)))
    assert solved(copied)[1].strength < solved(apart)[1].strength


def test_with_too_few_rows_nothing_is_compared():
    result = solved(embedded(MIN_ROWS - 1, noise=1.0))[1]
    assert result.strength == USUAL and result.losses == {}


def test_the_same_seed_gives_the_same_bits():
    rows = embedded(60, noise=1.5)
    (one, first), (other, second) = solved(rows), solved(rows)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)
    assert first == second


def test_soft_rows_are_learnt_by_their_weight_and_judge_nothing(monkeypatch):
    rows = embedded(60, noise=0.5)
    soft = np.arange(60) >= 30
    wrong = rows.targets.clone()
    wrong[30:] = (wrong[30:] + 1) % 3
    targets = nn.functional.one_hot(wrong, 3).float()

    def right(weight: float) -> float:
        weights = torch.where(torch.from_numpy(soft), weight, 1.0)
        head, _ = solved(replace(rows, targets=targets, weights=weights, soft=soft))
        answers = head(rows.take(np.arange(60))).argmax(1)
        return (answers == rows.targets).float().mean().item()

    assert right(0.01) > 0.8 > right(5.0)
    judged = []

    def unsolved(inputs, rows, numbers, *given, **options):
        judged.append(set(numbers))
        return torch.zeros(WIDTH + 1, 3)

    monkeypatch.setattr(module, "_solved", unsolved)
    solved(replace(rows, targets=targets, soft=soft))
    assert all(max(numbers) < 30 for numbers in judged[:-1]) and len(judged[-1]) == 60


def test_a_head_that_is_not_linear_is_refused():
    with pytest.raises(TypeError, match="the head is Sequential"):
        solve_head(embedded(9, noise=1.0), nn.Sequential(), 0)
