"""What "auto", "fp32" and "bf16" mean: fp32 when nothing is gained, and no trace of trying."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from models.network.precision import Precision, choose_precision, threads_set


def steps_of(
    seconds: dict[tuple[bool, bool], float], monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., Any], list[Precision]]:
    """Steps that take these `seconds` for (bf16, channels_last), and the precision of each taken.

    They have a clock of their own.
    """
    clock, taken = [0.0], list[Precision]()
    monkeypatch.setattr("models.network.precision.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("models.network.precision.computes_bf16", lambda: True)

    def start(network, precision):
        def step(batch):
            clock[0] += seconds[precision.bf16, precision.channels_last]
            taken.append(precision)

        return step

    return start, taken


def choose(asked, start, network=None, steps=10_000):
    batch = torch.zeros(2, 3, 8, 8)
    network = network or nn.Conv2d(3, 4, 3)
    return choose_precision(asked, network, batch, start=start, steps=steps, device="cpu")


SLOW_BF16 = {(False, False): 1.0, (False, True): 1.2, (True, False): 2.0, (True, True): 3.0}
FAST_BF16 = {(False, False): 4.0, (False, True): 3.0, (True, False): 2.0, (True, True): 1.0}
EQUAL = {(False, False): 1.0, (False, True): 0.95, (True, False): 0.95, (True, True): 0.95}


@pytest.mark.parametrize(
    ("seconds", "bf16", "channels_last"),
    [(SLOW_BF16, False, False), (FAST_BF16, True, True), (EQUAL, False, False)],
)
def test_auto_takes_what_was_fastest_by_more_than_noise(monkeypatch, seconds, bf16, channels_last):
    start, _ = steps_of(seconds, monkeypatch)
    assert choose("auto", start) == Precision(bf16=bf16, channels_last=channels_last)


def test_auto_does_not_try_when_too_few_steps_follow_to_repay_it(monkeypatch):
    start, taken = steps_of(FAST_BF16, monkeypatch)
    assert choose("auto", start, steps=50) == Precision()
    assert not taken


def test_bf16_is_not_tried_where_it_would_be_emulated(monkeypatch):
    start, taken = steps_of(FAST_BF16, monkeypatch)
    monkeypatch.setattr("models.network.precision.computes_bf16", lambda: False)
    assert choose("auto", start) == Precision(channels_last=True)
    assert not any(precision.bf16 for precision in taken)


def test_what_is_told_is_not_tried(monkeypatch):
    start, taken = steps_of(FAST_BF16, monkeypatch)
    assert choose("fp32", start) == Precision()
    assert choose("bf16", start) == Precision(bf16=True, channels_last=True)
    assert not taken


def test_trying_changes_neither_the_network_nor_the_random_state():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    before = {name: part.clone() for name, part in network.state_dict().items()}
    torch.manual_seed(1)
    state = torch.get_rng_state()

    def start(twin, precision):
        optimizer = torch.optim.SGD(twin.parameters(), lr=1.0)

        def step(batch):
            twin(torch.randn_like(batch)).sum().backward()
            optimizer.step()

        return step

    choose("auto", start, network)
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="'fp8'; choose one of auto, fp32, bf16"):
        choose("fp8", lambda *given: None)


def test_the_number_of_threads_is_given_back_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), threads_set(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
