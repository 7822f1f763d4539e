"""A pool of any size -> its outputs and embeddings, the same sample never scored twice."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd

from models.network.network import Network
from models.scoring.cache import ScoreCache, open_cache
from models.scoring.predict import Compute, Predictions, predictions

BLOCK = 2**24  # bytes of scores in one write, or what came in so many seconds: more than that
BLOCK_SECONDS = 3.0  # a kill does not cost, and the disk is not waited for more often
_MOVED = 2**24  # bytes put in order at a time


@dataclass(frozen=True)
class ScoredTable(Predictions):
    """One model's predictions for the rows of a table, mapped from files and read-only."""

    new: int  # rows that had to be scored


def cache_for(network: Network, folder: Path, *, runtime: str = "") -> ScoreCache:
    """The cache in `folder` of this very network's predictions; of any other it is begun anew.

    `runtime` tells what computed them, if not torch: its predictions are others in the last digits.
    """
    digest = hashlib.sha256(runtime.encode())
    for name, part in network.state_dict().items():
        if name == "temperature" and part == 1:
            continue  # as for models from before there was one: their scores stay valid
        digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return open_cache(
        folder, outputs=network.output_width, width=network.width, model=digest.hexdigest()
    )


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
    return ScoredTable(
        outputs=_in_order(cache.outputs, at, cache.folder),
        embeddings=_in_order(cache.embeddings, at, cache.folder),
        new=len(todo),
    )


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
