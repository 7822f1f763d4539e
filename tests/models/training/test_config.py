"""The configuration of a training refuses what no training can use."""

import math

import pytest

from models.training.config import TrainConfig


@pytest.mark.parametrize(
    "given",
    [
        {"soft_weight": 1.0}, {"soft_weight": -0.1},
        {"epochs": 0}, {"epochs": 2.5}, {"batch_size": 1}, {"min_steps": -1}, {"lr": 0},
        {"lr": math.nan}, {"lr": math.inf}, {"warmup": 1}, {"label_smoothing": -0.1},
        {"weight_decay": -1}, {"fine_tune": "half"}, {"precision": "fp8"}, {"patience": 0},
        {"seed": -1}, {"class_weights": "on"}, {"consistency": "on"},
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name(given):
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name} is .*; choose"):
        TrainConfig(**given)
