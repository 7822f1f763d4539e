"""Images -> outputs of the label kind and embeddings."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from models.network.images import Images, open_images
from models.network.network import Network
from models.network.precision import Precision, choose_precision, threads_set

BATCH = 256  # images; larger ones were no faster and need more memory
PIXELS_AT_ONCE = 2**24  # fewer images of large sizes: activations are what fills the memory
TRIES = 3  # of each size of a batch, until the best is known; the first is slow for all


Compute = Callable[[torch.Tensor], "Predictions"]  # of uint8 images [n, 3, s, s]


@dataclass(frozen=True)
class Predictions:
    """One model's outputs [n, numbers] and embeddings [n, width] of n images, both float32.

    The columns of the outputs mean what the model's label kind says.
    """

    outputs: np.ndarray
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        """Refuse arrays that are not as declared."""
        for name, array in (("outputs", self.outputs), ("embeddings", self.embeddings)):
            if array.ndim != 2 or array.dtype != np.float32:
                raise ValueError(
                    f"{name} are {array.dtype} of shape {array.shape}; float32 [n, numbers] needed"
                )
        if len(self.outputs) != len(self.embeddings):
            raise ValueError(
                f"there are outputs of {len(self.outputs)} images and embeddings of "
                f"{len(self.embeddings)}; give a row of both for each image"
            )

    @classmethod
    def joined(cls, parts: "Sequence[Predictions]") -> "Predictions":
        """The predictions of the parts, one after the other; at least one part."""
        return Predictions(
            np.concatenate([part.outputs for part in parts]),
            np.concatenate([part.embeddings for part in parts]),
        )

    def first(self, rows: int) -> "Predictions":
        """Those of the first images."""
        return Predictions(self.outputs[:rows], self.embeddings[:rows])

    def __len__(self) -> int:
        return len(self.outputs)


def predict(
    network: Network,
    images: torch.Tensor | Iterable[torch.Tensor],
    *,
    precision: str = "fp32",
    rows: int | None = None,
    threads: int = 1,
    device: str | None = None,
    name: str = "the model",
    on_progress: Callable[[int], None] | None = None,
) -> Predictions:
    """The predictions for `images`: one uint8 tensor [n, 3, s, s], or batches of such.

    Memory holds one batch and the answer. An output that is not finite is an error that names the
    model. "auto" is faster on many images (say how many `rows` the batches have); "fp32" gives the
    same bits every time. The network is left in eval mode.
    """
    if isinstance(images, torch.Tensor):
        rows, images = len(images), images.split(batch_sizes(len(images), BATCH))
    batches = iter(images)
    first = next(batches, torch.empty(0))
    if not len(first):
        return _empty(network)
    with threads_set(threads):
        chosen = choose_precision(
            precision,
            network,
            first,
            start=_started,
            steps=(rows or 0) // len(first),
            device=device,
        )
        chosen.place(network).eval()
        parts: list[Predictions] = []
        done = 0
        for batch in chain([first], batches):
            parts.append(_predict(network, chosen.put(batch), chosen))
            refuse_broken(name, parts[-1], done)
            done += len(batch)
            if on_progress:
                on_progress(done)
    return Predictions.joined(parts)


def batch_sizes(rows: int, largest: int) -> list[int]:
    """`rows` as a sum of `largest` and of smaller powers of two, the largest first.

    oneDNN keeps what it prepared for each shape and thread: a service that had answered 1 to 64
    images at a time, each of two models on two threads, held 1,060 MiB of it; in pieces of seven
    sizes 150 MiB, and took a tenth less processor time.
    """
    sizes = [largest] * (rows // largest)
    rest = rows % largest
    return sizes + [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]


def predict_table(
    network: Network,
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    *,
    precision: str = "fp32",
    threads: int = 1,
    name: str = "the model",
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """The predictions for the images of `table`, in its order; memory holds them all.

    `models.scoring.score_table` is for a pool of any size: it stores them on the disk.
    """
    parts: list[Predictions] = []
    for batch in predictions(
        network, table, shards, image_size, precision=precision, threads=threads, name=name
    ):
        parts.append(batch)
        if on_progress:
            on_progress(sum(map(len, parts)), len(table))
    return Predictions.joined(parts) if parts else _empty(network)


def predictions(
    network: Network,
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    *,
    precision: str = "fp32",
    threads: int = 1,
    device: str | None = None,
    name: str = "the model",
    compute: Compute | None = None,
) -> Iterator[Predictions]:
    """The predictions for the images of `table`, batch by batch in its order.

    `compute` takes the place of the network: the runtime that serves the model.

    While `threads` batches go through the network, one thread each, others are decoded: no thread
    ever waits for another inside a batch. Memory holds a few batches, however many the rows.
    """
    images = open_images(table, shards, image_size, memory_bound=0)
    if not len(images):
        return
    size = max(1, min(BATCH, PIXELS_AT_ONCE // image_size**2 // threads))
    with threads_set(1):
        is_fixed = compute is not None
        if compute is None:
            compute, is_fixed = _fastest(network, images, size, precision, device)
        pace = _Pace(size, fixed=is_fixed)
        room = threading.BoundedSemaphore(threads)

        def predicted(rows: np.ndarray) -> Predictions:
            batch = images.decode(rows)
            with room, pace.measured(len(rows)):
                return compute(batch)

        done = 0
        for part in _ahead(predicted, pace.parts(len(images)), threads + 1):
            refuse_broken(name, part, done)
            done += len(part)
            yield part


def _fastest(
    network: Network, images: Images, size: int, precision: str, device: str | None
) -> tuple[Compute, bool]:
    """What predicts a batch in the chosen precision, and whether all batches are of one size."""
    tried = images.decode(np.arange(len(images))[: max(1, size // 8)])
    steps = len(images) // len(tried)
    chosen = choose_precision(precision, network, tried, start=_started, steps=steps, device=device)
    chosen.place(network).eval()

    def compute(batch: torch.Tensor) -> Predictions:
        if not chosen.channels_last:
            batch = batch.contiguous()
        return _predict(network, chosen.put(batch), chosen)

    return compute, precision == "fp32" or chosen.device != "cpu"


class _Pace:
    """How many images at a time go fastest: it depends on what of them fits the caches.

    The first batches are of one size and another in turn, all others of the best one: with
    depthwise convolutions the smallest (EfficientNet-Lite0 at 128 px: 2.5 ms an image in batches of
    16, 3.7 in 64), with dense ones the largest (resnet18 at 32 px: .77 and .26 in 256).
    """

    def __init__(self, most: int, *, fixed: bool) -> None:
        sizes = {most} if fixed else {max(1, most // part) for part in (1, 4, 16)}
        self.seconds: dict[int, list[float]] = {size: [] for size in sorted(sizes)}

    def parts(self, count: int) -> Iterator[np.ndarray]:
        """All the rows, in order."""
        turn, done = cycle(self.seconds), 0
        while done < count:
            known = all(len(trials) >= TRIES for trials in self.seconds.values())
            best = min(self.seconds, key=lambda size: min(self.seconds[size], default=0.0))
            size = best if known else next(turn)
            yield np.arange(done, min(count, done + size))
            done += size

    @contextmanager
    def measured(self, size: int) -> Iterator[None]:
        """Note what an image costs this thread; what else the machine does is not in it."""
        began = time.thread_time()
        yield
        trials = self.seconds.get(size)  # the last batch of all may be of no such size
        if trials is not None and len(trials) < TRIES:
            trials.append((time.thread_time() - began) / size)


def _ahead(
    work: Callable[[np.ndarray], Predictions], parts: Iterable[np.ndarray], workers: int
) -> Iterator[Predictions]:
    """The results of `work` for each part, in order, computed a little ahead by `workers`."""
    under_way: deque[Future[Predictions]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part in parts:
                under_way.append(pool.submit(work, part))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _started(network: Network, precision: Precision) -> Callable[[torch.Tensor], object]:
    return lambda batch: _predict(network, batch, precision)


def predict_batch(
    network: Network, batch: torch.Tensor, precision: Precision, *, name: str
) -> Predictions:
    """The predictions for one batch of a network that was placed; those not finite are an error."""
    part = _predict(network, batch, precision)
    refuse_broken(name, part, 0)
    return part


def _predict(network: Network, batch: torch.Tensor, precision: Precision) -> Predictions:
    """Outputs and embeddings of one batch; the head computes in fp32 whatever the rest does."""
    network.eval()
    with torch.inference_mode():
        with precision.autocast():
            embeddings = network.embed(batch)
        outputs = network.outputs(embeddings)
    return Predictions(outputs.float().cpu().numpy(), embeddings.float().cpu().numpy())


def refuse_broken(name: str, part: Predictions, done: int) -> None:
    """Refuse values that are not finite; `done` rows came before these."""
    for what, values in (("outputs", part.outputs), ("embeddings", part.embeddings)):
        if math.isfinite(np.add.reduce(values, axis=None)):  # then each of them is
            continue
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):  # else their sum is too large
            raise ValueError(
                f"{name} gave {what} that are not finite for {len(broken)} of {len(values)} "
                f"images, the first being row {done + broken[0]}; the model is damaged: "
                "train it again or serve another version"
            )


def _empty(network: Network) -> Predictions:
    return Predictions(
        np.empty((0, network.output_width), np.float32), np.empty((0, network.width), np.float32)
    )
