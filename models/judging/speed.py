"""How long a model takes for one image, and how large it is, on this machine.

What is measured is the processor time of this process while a model predicts with the runtime that
serves it: the time in which the machine does other work is not in it, so that a busy machine makes
no model slow. Models are measured in turns, so that what slows the processor slows all of them.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from models.network.network import Network

WARM_UP = 3  # the first calls allocate memory and choose kernels
RUNS = 60  # the bounds of the 95th percentile need 59 for a finite upper one
SECONDS = 1.0  # of each model, after which fewer runs must do
MIN_RUNS = 12
MEGABYTE = 1e6


@dataclass(frozen=True)
class Predictor:
    """A model as it is served: what predicts, and by which runtime."""

    predict: Callable[[torch.Tensor], object]
    image_size: int
    size_mb: float
    runtime: str


@dataclass(frozen=True)
class Speed:
    """Milliseconds of processor time for one image, and the megabytes of the weights."""

    p50_ms: float
    p95_ms: float
    p95_low_ms: float
    p95_high_ms: float
    size_mb: float
    runs: int
    runtime: str


def measure_speed(
    predictors: Mapping[str, Predictor], *, runs: int = RUNS, seconds: float = SECONDS
) -> dict[str, Speed]:
    """The speed of each model, by its name, for single images as a client sends them.

    Slow ones are run fewer times.
    """
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(WARM_UP + runs):
        for name, one in predictors.items():
            image = torch.zeros(1, 3, one.image_size, one.image_size, dtype=torch.uint8)
            began = time.process_time()
            one.predict(image)
            if turn >= WARM_UP:
                taken[name].append(time.process_time() - began)
        most = max((sum(times) for times in taken.values()), default=0.0)
        if turn >= WARM_UP + MIN_RUNS and most > seconds:
            break
    return {name: speed_of(times, predictors[name]) for name, times in taken.items()}


def speed_of(times: list[float], model: Predictor, alpha: float = 0.05) -> Speed:
    """The percentiles of the seconds that were taken; the 95th with its bounds.

    The bounds are order statistics, so they hold for times of any distribution; where the runs are
    too few for an upper bound it is the slowest run.
    """
    ordered = 1000 * np.sort(np.asarray(times))
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(len(ordered) * 0.95 * 0.05)
    low = max(0, math.floor(0.95 * len(ordered) - half) - 1)
    high = min(len(ordered) - 1, math.ceil(0.95 * len(ordered) + half))
    median, slow = (float(value) for value in np.quantile(ordered, (0.5, 0.95)))
    return Speed(
        median, slow, float(ordered[low]), float(ordered[high]),
        model.size_mb, len(ordered), model.runtime,
    )  # fmt: skip


def size_mb(network: Network) -> float:
    """The megabytes of the weights, as they are stored and packaged."""
    return sum(part.nbytes for part in network.state_dict().values()) / MEGABYTE
