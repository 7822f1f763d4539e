"""Images -> class probabilities and embeddings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from models.data import open_images
from models.network import Network
from models.precision import Precision, choose_precision, threads_set

BATCH = 256  # images; larger ones were no faster and need more memory
PIXELS_AT_ONCE = 2**24  # fewer images of large sizes: activations are what fills the memory


@dataclass(frozen=True)
class Predictions:
    """What a model says about n images: probabilities [n, classes] and embeddings [n, width]."""

    probs: np.ndarray  # float32
    embeddings: np.ndarray  # float32

    def __len__(self) -> int:
        return len(self.probs)


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
        rows, images = len(images), images.split(BATCH)
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
        found: list[tuple[np.ndarray, np.ndarray]] = []
        done = 0
        for batch in chain([first], batches):
            found.append(_answer(network, chosen.put(batch), chosen))
            _refuse_broken(name, found[-1], done)
            done += len(batch)
            if on_progress:
                on_progress(done)
    return Predictions(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


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
    """The predictions for the images of `table`, in its order; they are decoded batch by batch."""
    images = open_images(table, shards, image_size, threads=threads, memory_bound=0)
    size = max(1, min(BATCH, PIXELS_AT_ONCE // image_size**2))
    return predict(
        network,
        images.batches(size),
        precision=precision,
        rows=len(table),
        threads=threads,
        name=name,
        on_progress=(lambda done: on_progress(done, len(table))) if on_progress else None,
    )


def _started(network: Network, precision: Precision) -> Callable[[torch.Tensor], object]:
    return lambda batch: _answer(network, batch, precision)


def _answer(
    network: Network, batch: torch.Tensor, precision: Precision
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embeddings of one batch; the softmax is fp32 whatever the rest is."""
    network.eval()
    with torch.inference_mode(), precision.autocast():
        embeddings = network.embed(batch)
        logits = network.head(embeddings)
    return logits.float().softmax(1).cpu().numpy(), embeddings.float().cpu().numpy()


def _refuse_broken(name: str, found: tuple[np.ndarray, np.ndarray], done: int) -> None:
    for what, values in zip(("probabilities", "embeddings"), found, strict=True):
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):
            raise ValueError(
                f"{name} gave {what} that are not finite for {len(broken)} of {len(values)} "
                f"images, the first being row {done + broken[0]}; the model is damaged: "
                "train it again or serve another version"
            )


def _empty(network: Network) -> Predictions:
    head = network.head
    return Predictions(
        np.empty((0, head.out_features), np.float32), np.empty((0, head.in_features), np.float32)
    )
