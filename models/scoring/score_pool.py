"""A pool of any size -> its outputs and embeddings, the same sample never scored twice.

`feature_cache` stores the embeddings of a backbone: whatever heads are trained on it, each sample
passes through it once. `cache_for` stores outputs, too, of one network with all its weights.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd
import torch

from models.network.network import Network
from models.network.precision import threads_set
from models.scoring.cache import ScoreCache, open_cache
from models.scoring.predict import Compute, Predictions, predictions, refuse_broken

BLOCK = 2**24  # bytes of scores in one write, or what came in so many seconds: more than that
BLOCK_SECONDS = 3.0  # a kill does not cost, and the disk is not waited for more often
_MOVED = 2**24  # bytes put in order at a time
_EMBEDS = ("backbone.", "mean", "std")  # names of the weights that the embeddings depend on


@dataclass(frozen=True)
class ScoredTable(Predictions):
    """One model's predictions for the rows of a table, mapped from files and read-only."""

    new: int  # rows that had to be scored


def cache_for(network: Network, folder: Path, *, runtime: str = "") -> ScoreCache:
    """The cache in `folder` of this very network's predictions; of any other it is begun anew.

    `runtime` tells what computed them, if not torch: its predictions are others in the last digits.
    """
    digest = hashlib.sha256(runtime.encode())
    state = {
        name: part
        for name, part in network.state_dict().items()
        if name != "temperature" or part != 1  # as for models from before there was one
    }
    _add(digest, state)
    return open_cache(
        folder, outputs=network.output_width, width=network.width, model=digest.hexdigest()
    )


def feature_cache(network: Network, folder: Path, image_size: int) -> ScoreCache:
    """The cache, in a folder of its own inside `folder`, of the embeddings of this backbone.

    Networks that differ in their heads alone share it, and those that take other image sizes do
    not. It has no outputs: `score_table` computes them from the embeddings.
    """
    digest = feature_digest(network, image_size)
    return open_cache(folder / digest[:16], outputs=0, width=network.width, model=digest)


def feature_digest(network: Network, image_size: int) -> str:
    """What tells the embeddings of this network from others: its backbone and the image size."""
    digest = hashlib.sha256(f"{image_size} ".encode())
    state = network.state_dict()
    _add(digest, {name: part for name, part in state.items() if name.startswith(_EMBEDS)})
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", state: Mapping[str, torch.Tensor]) -> None:
    for name, part in state.items():
        digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())


def score_table(
    network: Network,
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    cache: ScoreCache,
    *,
    precision: str = "auto",
    threads: int = 1,
    device: str | None = None,
    name: str = "the model",
    on_progress: Callable[[int, int], None] | None = None,
    compute: Compute | None = None,
) -> ScoredTable:
    """The predictions for the rows of `table`, in its order; rows in the cache are not predicted.

    `compute` takes the place of the network.

    Memory is bounded whatever the pool. Killed anywhere, the next call goes on after the last block
    that was stored. The arrays stay readable when the cache is closed.
    """
    names = table["sample_id"].tolist()
    rows = cache.missing(names)
    # In the order of the disk: in any other, a large pool opens a shard for every image.
    todo = table.iloc[rows].sort_values(["shard", "offset"])
    batches = predictions(
        network,
        todo,
        shards,
        image_size,
        precision=precision,
        threads=threads,
        device=device,
        name=name,
        compute=compute,
    )
    known, done = len(table) - len(todo), 0
    for block in _blocks(batches):
        ids = todo["sample_id"].iloc[done : done + len(block)]
        cache.append(ids.tolist(), block.outputs, block.embeddings)
        done += len(block)
        if on_progress:
            on_progress(known + done, len(table))
    at = cache.rows_of(names)
    embeddings = _in_order(cache.embeddings, at, cache.folder)
    if cache.output_width:
        outputs = _in_order(cache.outputs, at, cache.folder)
    else:
        outputs = _outputs(network, embeddings, cache.folder, threads=threads, name=name)
    return ScoredTable(outputs, embeddings, new=len(todo))


def _blocks(batches: Iterable[Predictions]) -> Iterator[Predictions]:
    """Batches put together until they are worth a write that waits for the disk."""
    held: list[Predictions] = []
    began = time.monotonic()
    for batch in batches:
        held.append(batch)
        size = sum(one.outputs.nbytes + one.embeddings.nbytes for one in held)
        if size >= BLOCK or time.monotonic() - began > BLOCK_SECONDS:
            yield Predictions.joined(held)
            held, began = [], time.monotonic()
    if held:
        yield Predictions.joined(held)


def _in_order(cached: np.ndarray, rows: np.ndarray, folder: Path) -> np.ndarray:
    """The rows of `cached`, as a part of it or put in order in a temporary file."""
    if len(rows) == 0 or (rows == rows[0] + np.arange(len(rows))).all():
        return cached[rows[0] :][: len(rows)] if len(rows) else cached[:0]
    step = max(1, _MOVED // max(1, cached[0].nbytes))
    with TemporaryFile(dir=folder) as file:
        for start in range(0, len(rows), step):
            file.write(cached[rows[start : start + step]].tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=(len(rows), cached.shape[1]))


def _outputs(
    network: Network, embeddings: np.ndarray, folder: Path, *, threads: int, name: str
) -> np.ndarray:
    """The outputs of the network's head, mapped from a temporary file."""
    shape = (len(embeddings), network.output_width)
    if not len(embeddings):
        return np.empty(shape, np.float32)
    step = max(1, _MOVED // (4 * network.width))
    network.eval()
    with TemporaryFile(dir=folder) as file, torch.inference_mode(), threads_set(threads):
        for start in range(0, len(embeddings), step):
            rows = np.array(embeddings[start : start + step])
            features = torch.from_numpy(rows).to(network.temperature.device)
            part = network.outputs(features).float().cpu().numpy()
            refuse_broken(name, Predictions(part, rows), start)
            file.write(np.ascontiguousarray(part).tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)
