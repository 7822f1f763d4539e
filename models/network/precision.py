"""The number format and memory layout of a network: as configured, or the fastest one measured."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

PRECISIONS = ("auto", "fp32", "bf16")
PROBE_STEPS = 3  # of each candidate, after one to warm up; the fastest counts
WORTH_IT = 1.1  # required speed-up over plain fp32: less is within the noise of a busy machine


@dataclass(frozen=True)
class Precision:
    """A number format, a memory layout and a device."""

    bf16: bool = False
    channels_last: bool = False
    device: str = "cpu"

    def __str__(self) -> str:
        layout = " channels_last" if self.channels_last else ""
        return f"{'bf16' if self.bf16 else 'fp32'}{layout} on {self.device}"

    def place(self, network: nn.Module) -> nn.Module:
        """The network, moved to the device and laid out; its weights stay fp32."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return network.to(self.device).to(memory_format=layout)

    def put(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch on the device; images are in the network's memory layout."""
        if self.channels_last and batch.ndim == 4:
            return batch.to(self.device, memory_format=torch.channels_last)
        return batch.to(self.device)

    def autocast(self) -> torch.autocast:
        """The context in which the forward pass runs."""
        device = torch.device(self.device).type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16)


Start = Callable[[Any, Precision], Callable[[torch.Tensor], object]]


def choose_precision(
    asked: str,
    network: nn.Module,
    batch: torch.Tensor,
    *,
    start: Start,
    steps: int,
    device: str | None = None,
) -> Precision:
    """The precision that `asked` ("auto", "fp32", "bf16") stands for on this network and device.

    "fp32" is the reference: on one processor the same seed gives the same bits. "auto" times a few
    steps of each candidate on a copy when the planned `steps` are enough to repay that. `start`
    returns the step function of a copy, with its optimizer: the optimizer's speed depends on the
    layout, too.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision is {asked!r}; choose one of {', '.join(PRECISIONS)}")
    device = device or default_device()
    plain = Precision(device=device)
    if asked == "fp32":
        return plain
    if asked == "bf16" or device != "cpu":
        return Precision(bf16=True, channels_last=True, device=device)
    candidates = [Precision(channels_last=True)]
    if computes_bf16():
        candidates += [Precision(bf16=True), Precision(bf16=True, channels_last=True)]
    if steps < 10 * PROBE_STEPS * len(candidates):
        return plain
    seconds = _race([plain, *candidates], network, batch, start)
    best = min(candidates, key=seconds.__getitem__)
    return best if seconds[best] * WORTH_IT < seconds[plain] else plain


def default_device() -> str:
    """The first CUDA device where there is one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Torch computes with this number of threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computes_bf16() -> bool:
    """Whether the processor has bf16 instructions; emulated bf16 is not faster."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16") or can.get("bf16"))


def _race(
    candidates: list[Precision],
    network: nn.Module,
    batch: torch.Tensor,
    start: Start,
) -> dict[Precision, float]:
    """The seconds of each candidate's fastest step, measured in turns so that noise is shared."""
    step = {one: start(one.place(copy.deepcopy(network)), one) for one in candidates}
    seconds = dict.fromkeys(candidates, float("inf"))
    with torch.random.fork_rng():
        for turn in range(PROBE_STEPS + 1):
            for candidate in candidates:
                began = time.perf_counter()
                step[candidate](candidate.put(batch))
                if turn:
                    seconds[candidate] = min(seconds[candidate], time.perf_counter() - began)
    return seconds
