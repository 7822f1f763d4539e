"""How long a model takes for one image, and how large it is, on this machine.

What is measured is the processor time of the thread that predicts, on one thread: the time in which
the machine does other work is not in it, so that a busy machine makes no model slow. Models are
measured in turns, so that what slows the processor itself slows all of them.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from models.network.network import Network
from models.network.precision import threads_set

WARM_UP = 3  # the first calls allocate memory and choose kernels
RUNS = 60  # the bounds of the 95th percentile need 59 for a finite upper one
SECONDS = 1.0  # of each model, after which fewer runs must do
MIN_RUNS = 12
MEGABYTE = 1e6


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one image on one thread, and the megabytes of the weights."""

    p50_ms: float
    p95_ms: float
    p95_low_ms: float
    p95_high_ms: float
    size_mb: float
    runs: int


def measure_speed(
    networks: Mapping[str, tuple[Network, int]], *, runs: int = RUNS, seconds: float = SECONDS
) -> dict[str, Speed]:
    """The speed of each network, by its name, for single images as a client sends them.

    Each network comes with the side of its images. Slow ones are run fewer times.
    """
    images = {
        name: torch.zeros(1, 3, side, side, dtype=torch.uint8)
        for name, (_, side) in networks.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in networks}
    with threads_set(1), torch.inference_mode():
        for turn in range(WARM_UP + runs):
            for name, (network, _) in networks.items():
                began = time.thread_time()
                network.eval().outputs(network.embed(images[name]))
                if turn >= WARM_UP:
                    taken[name].append(time.thread_time() - began)
            most = max((sum(times) for times in taken.values()), default=0.0)
            if turn >= WARM_UP + MIN_RUNS and most > seconds:
                break
    return {name: speed_of(times, size_mb(networks[name][0])) for name, times in taken.items()}


def time_of_image(
    predictors: Mapping[str, Callable[[torch.Tensor], object]], side: int
) -> dict[str, float]:
    """Processor time of one image by each of these, all threads together: the median, in turns."""
    image = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(WARM_UP + RUNS):
        for name, predict in predictors.items():
            began = time.process_time()
            predict(image)
            if turn >= WARM_UP:
                taken[name].append(1000 * (time.process_time() - began))
        if turn >= WARM_UP + MIN_RUNS and max(map(sum, taken.values())) > 1000 * SECONDS:
            break
    return {name: float(np.median(times)) for name, times in taken.items()}


def speed_of(times: list[float], size: float, alpha: float = 0.05) -> Speed:
    """The percentiles of the seconds that were taken; the 95th with its bounds.

    The bounds are order statistics, so they hold for times of any distribution; where the runs are
    too few for an upper bound it is the slowest run.
    """
    ordered = 1000 * np.sort(np.asarray(times))
    half = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(len(ordered) * 0.95 * 0.05)
    low = max(0, math.floor(0.95 * len(ordered) - half) - 1)
    high = min(len(ordered) - 1, math.ceil(0.95 * len(ordered) + half))
    median, slow = (float(value) for value in np.quantile(ordered, (0.5, 0.95)))
    return Speed(median, slow, float(ordered[low]), float(ordered[high]), size, len(ordered))


def size_mb(network: Network) -> float:
    """The megabytes of the weights, as they are stored and packaged."""
    return sum(part.nbytes for part in network.state_dict().values()) / MEGABYTE
