"""Scoring on many machines: parts of a table go to a Ray cluster, the same function scores each."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from models.network.network import Network
from models.scoring.predict import Predictions, predict_table

ROWS = 20_000  # of a part: starting one costs a quarter of a second, so it must last
TRIES = 5  # of a part whose worker died
SECONDS = 10  # in which a cluster must take a call


def predict_on_ray(
    network: Network,
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    *,
    cluster: str,
    rows: int = ROWS,
    name: str = "the model",
    on_progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """The predictions for `table`, in its order, each part of it scored by a worker of the cluster.

    `cluster` is an address that Ray knows, or "local" for one on this machine. Workers read the
    images from `shards`, which they must see under the same path. A part whose worker dies is
    scored by another; not many more parts are under way than there are processors.
    """
    parts = [table.iloc[start : start + rows] for start in range(0, len(table), rows)]
    scored: dict[int, Predictions] = {}
    with _ray(cluster) as ray:
        known = ray.put(network)
        score = ray.remote(max_retries=TRIES, num_cpus=1)(_score)
        waiting = iter(range(len(parts)))
        under_way: dict[Any, int] = {}
        for number in waiting:
            under_way[score.remote(known, parts[number], shards, image_size, name)] = number
            if len(under_way) >= 2 * _processors(ray):
                _take(ray, under_way, scored, on_progress, len(table))
        while under_way:
            _take(ray, under_way, scored, on_progress, len(table))
    if not parts:
        return predict_table(network, table, shards, image_size)
    return Predictions.joined([scored[number] for number in range(len(parts))])


def _score(
    network: Network, part: pd.DataFrame, shards: Path, image_size: int, name: str
) -> Predictions:
    """The predictions of a part, by a worker on one thread."""
    return predict_table(network, part, shards, image_size, threads=1, name=name)


def _take(
    ray: Any,
    under_way: dict[Any, int],
    scored: dict[int, Predictions],
    on_progress: Callable[[int, int], None] | None,
    total: int,
) -> None:
    """Wait for one part that is under way, and take its predictions from the worker."""
    [ready], _ = ray.wait(list(under_way), num_returns=1)
    scored[under_way.pop(ready)] = ray.get(ready)
    if on_progress:
        on_progress(sum(map(len, scored.values())), total)


def _processors(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _check_reachable(cluster: str) -> None:
    """Raise an OSError where nothing listens at an address with a port."""
    parts = urlsplit(cluster if "//" in cluster else f"//{cluster}")
    if parts.port is not None and parts.hostname:
        socket.create_connection((parts.hostname, parts.port), timeout=SECONDS).close()


@contextmanager
def _ray(cluster: str) -> Iterator[Any]:
    """Ray, connected to the cluster as long as the block lasts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports nothing to its makers
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError(
            "HONE_RAY is set, but Ray is not installed; install it (pip install 'hone[ray]'), or "
            "take HONE_RAY away to score on this machine alone"
        ) from error
    try:
        _check_reachable(cluster)  # Ray itself waits for minutes
        ray.init(
            address=None if cluster == "local" else cluster,
            log_to_driver=False,
            include_dashboard=False if cluster == "local" else None,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(
            f"HONE_RAY is {cluster!r}, and no Ray cluster answers there ({error}); start one with "
            "`ray start --head`, correct the address, or use HONE_RAY=local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
