"""Speed: percentiles with bounds, a slow model slower than a quick one, sizes as stored."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from models.judging.speed import RUNS, Predictor, measure_speed, size_mb, speed_of
from models.network.network import Network
from models.scoring.predict import predict


class _Work(nn.Module):
    """A backbone that multiplies matrices so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.weight = nn.Parameter(torch.eye(96))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.weight.clone()
        for _ in range(self.times):
            rows = rows @ self.weight
        return rows[:1] + images.mean()


def network(times: int) -> Network:
    return Network(_Work(times), 96, 3)


def served(one: Network) -> Predictor:
    return Predictor(partial(predict, one, threads=1), 8, size_mb(one), "torch")


def test_a_model_with_much_more_work_takes_longer_and_both_sizes_are_those_of_the_weights() -> None:
    quick, slow = network(1), network(400)
    speeds = measure_speed({"quick": served(quick), "slow": served(slow)}, runs=15)
    assert speeds["slow"].p50_ms > 2 * speeds["quick"].p50_ms > 0
    assert speeds["slow"].p95_low_ms <= speeds["slow"].p95_ms <= speeds["slow"].p95_high_ms
    assert {speed.runs for speed in speeds.values()} == {15}
    stored = len(save(quick.state_dict())) / 1e6
    assert speeds["quick"].size_mb == size_mb(quick) == pytest.approx(stored, abs=0.001)


def test_a_slow_model_is_measured_fewer_times() -> None:
    speed = measure_speed({"one": served(network(50))}, runs=RUNS, seconds=0.0)["one"]
    assert 12 <= speed.runs < RUNS


def test_no_model_is_left_in_another_mode_or_with_other_threads() -> None:
    before = torch.get_num_threads()
    measure_speed({"one": served(network(1))}, runs=1)
    assert torch.get_num_threads() == before


def test_the_bounds_hold_the_true_percentile_as_often_as_they_promise() -> None:
    one = served(network(1))
    rng, truth = np.random.default_rng(0), 1000 * np.exp(1.6448536 * 0.5)
    speeds = [speed_of(rng.lognormal(0, 0.5, 200).tolist(), one) for _ in range(500)]
    held = np.mean([speed.p95_low_ms <= truth <= speed.p95_high_ms for speed in speeds])
    assert held >= 0.93
    assert np.mean([speed.p95_ms for speed in speeds]) == pytest.approx(truth, rel=0.03)


def test_the_processor_time_of_each_is_its_own() -> None:
    def busy(image: torch.Tensor) -> None:
        assert image.shape == (1, 3, 8, 8)
        sum(range(100_000))

    models = {
        "idle": Predictor(lambda image: None, 8, 1.0, "torch"),
        "busy": Predictor(busy, 8, 1.0, "onnxruntime"),
    }
    taken = measure_speed(models)
    assert 0 <= taken["idle"].p50_ms < taken["busy"].p50_ms
    assert [taken[name].runtime for name in models] == ["torch", "onnxruntime"]
