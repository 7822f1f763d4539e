"""The learning rate: its course over the steps, and its share at each depth of a backbone."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.network.network import NetworkConfig, build
from models.training.config import FROZEN, FULL, LAST
from models.training.optimizer import (
    LAST_SLICES,
    SLICES,
    freeze,
    optimizer_of,
    rate_share,
    set_rate,
    slices_of,
    train_mode,
)
from models.training.recipe import Recipe
from tests.models.training.small_runs import SHORT, SHUFFLE

TUNED = Recipe(fine_tune=FULL, backbone_rate=0.5, first_rate=0.1)


def small_network():
    return build(SHUFFLE, classes=3, image_size=8)


def test_the_learning_rate_rises_in_a_line_and_falls_to_nothing():
    rates = [rate_share(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1
    assert rates[10] == 1 and sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] < 0.001
    assert rate_share(0, 1, 0.0) == 1


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "vit_b_32"])
def test_slices_hold_each_parameter_once_and_in_order(backbone):
    network = build(NetworkConfig(backbone), classes=2, image_size=32)
    slices = slices_of(network.backbone)
    names = {id(weight): number for number, weight in enumerate(network.backbone.parameters())}
    numbers = [names[id(weight)] for weights in slices for weight in weights]
    assert len(slices) == SLICES and all(slices)
    assert sorted(numbers) == list(range(len(names)))


def test_the_deeper_the_layer_the_higher_its_rate_and_the_head_has_the_highest():
    network = small_network()
    optimizer = optimizer_of(network, SHORT, TUNED)
    set_rate(optimizer, 0.01)
    rates = {
        id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]
    }
    assert len(rates) == len(list(network.parameters()))
    by_slice = [{rates[id(one)] for one in weights} for weights in slices_of(network.backbone)]
    assert all(len(rate) == 1 for rate in by_slice)
    falling = [rate.pop() for rate in by_slice]
    assert falling == sorted(falling)
    assert falling[0] == pytest.approx(0.01 * 0.5 * 0.1) and falling[-1] == pytest.approx(0.005)
    assert rates[id(network.head.weight)] == 0.01


def test_norms_and_biases_do_not_decay():
    optimizer = optimizer_of(small_network(), SHORT, TUNED)
    for group in optimizer.param_groups:
        is_matrix = {weight.ndim > 1 for weight in group["params"]}
        assert is_matrix == {group["weight_decay"] > 0}


@pytest.mark.parametrize(("part", "slices"), [(FULL, SLICES), (LAST, LAST_SLICES), (FROZEN, 0)])
def test_only_what_is_tuned_gets_a_gradient(part, slices):
    network = small_network()
    freeze(network, Recipe(fine_tune=part))
    trained = [
        any(weight.requires_grad for weight in weights) for weights in slices_of(network.backbone)
    ]
    assert trained == [False] * (SLICES - slices) + [True] * slices
    assert network.head.weight.requires_grad


def test_norms_that_are_not_tuned_or_kept_do_not_change_their_statistics():
    network = small_network()
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    train_mode(network, Recipe())
    assert all(norm.training for norm in norms)
    train_mode(network, replace(Recipe(), keeps_norms=True))
    assert not any(norm.training for norm in norms) and network.head.training
    freeze(network, Recipe(fine_tune=LAST))
    train_mode(network, Recipe(fine_tune=LAST))
    modes = [norm.training for norm in norms]
    assert modes == sorted(modes) and 0 < sum(modes) < len(modes)


def test_a_head_alone_has_one_rate():
    optimizer = optimizer_of(nn.Linear(4, 2), SHORT, TUNED)
    assert {group["share"] for group in optimizer.param_groups} == {1.0}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    assert isinstance(optimizer, torch.optim.AdamW)
