"""Embeddings of a pretrained backbone: its features, standardised over the pool and projected."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save

from core.files import read_checked, write_atomically
from models.network.images import open_images
from models.network.network import Network, NetworkConfig, build
from models.network.precision import threads_set
from models.network.weights import Pretrained
from models.pretraining.feature_runtime import TRIED, FeatureRuntime, FeatureRuntimes
from models.runtimes.policy import Policy
from models.scoring.score_pool import feature_cache, score_table

SIDE = 128  # pixels: a third of the work of 224
WIDTH = 256  # principal directions of the features, at most
FITTED = 20_000  # images at most that standardising and directions are fitted on
PROJECTION = "projection.json"  # beside the features of published weights, and of no others
ROWS = 4096  # projected at a time


@dataclass(frozen=True)
class Projection:
    """Features -> embeddings of length one: standardised, then on their principal directions."""

    mean: torch.Tensor
    spread: torch.Tensor
    directions: torch.Tensor  # [features, width]
    count: int  # images there were when it was fitted

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The embeddings, float32 [n, width]."""
        rows = (torch.from_numpy(np.array(features)) - self.mean) / self.spread
        return torch.nn.functional.normalize(rows @ self.directions).numpy()


def pretrained_network(pretrained: Pretrained) -> tuple[Network, int]:
    """The backbone with its weights, and the side of its images."""
    side = 224 if pretrained.backbone.startswith(("vit", "maxvit")) else SIDE
    config = NetworkConfig(pretrained.backbone, weights=str(pretrained.file), small_stem=False)
    network = build(config, classes=1, image_size=side)
    return network.eval(), side


def pretrained_features(
    pretrained: Pretrained,
    table: pd.DataFrame,
    shards: Path,
    *,
    folder: Path,
    threads: int = 1,
    policy: Policy = Policy.AUTO,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, Path]:
    """The backbone's features of the rows of `table`, float32 [n, width], and their cache's folder.

    The cache is that of `feature_cache` in `folder`. Only images that are not there yet pass
    through the backbone, in the fastest runtime whose features agree with those of torch in fp32.
    """
    network, side = pretrained_network(pretrained)
    with feature_cache(network, folder, side) as cache:
        new = table.iloc[cache.missing(table["sample_id"].tolist())]
        runtime = FeatureRuntime()
        if len(new):
            runtimes = FeatureRuntimes(network, side, cache.folder, threads=threads, policy=policy)
            images = open_images(new.iloc[:TRIED], shards, side, threads=threads)
            runtime = runtimes.fastest(images.take(np.arange(len(images))), len(new))
        scored = score_table(
            network,
            table,
            shards,
            side,
            cache,
            precision=runtime.precision,
            threads=threads,
            compute=runtime.compute,
            name=f"the pretrained {pretrained.backbone}",
            on_progress=on_progress,
        )
    return scored.embeddings, cache.folder


def pretrained_embeddings(
    pretrained: Pretrained,
    table: pd.DataFrame,
    shards: Path,
    *,
    folder: Path,
    seed: int = 0,
    threads: int = 1,
    policy: Policy = Policy.AUTO,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Embeddings of the rows of `table`, float32 [n, WIDTH at most], mapped from a file.

    Their standardising and directions are stored beside the features and fitted anew, which embeds
    no image again, when the images outnumber twice those they were fitted on.
    """
    if not len(table):
        return np.empty((0, WIDTH), np.float32)
    features, folder = pretrained_features(
        pretrained,
        table,
        shards,
        folder=folder,
        threads=threads,
        policy=policy,
        on_progress=on_progress,
    )
    with threads_set(threads):
        projection = _load(folder)
        if projection is None or len(features) > 2 * projection.count:
            projection = fit_projection(features, np.random.default_rng(seed))
            _save(folder, projection)
        with TemporaryFile(dir=folder) as file:
            for start in range(0, len(features), ROWS):
                file.write(projection(features[start : start + ROWS]).tobytes())
            file.flush()
            shape = len(features), projection.directions.shape[1]
            return np.memmap(file, np.float32, "r", shape=shape)


def fit_projection(features: np.ndarray, rng: np.random.Generator) -> Projection:
    """The projection of these features, fitted on FITTED of them drawn at random."""
    chosen = np.sort(rng.permutation(len(features))[:FITTED])
    rows = torch.from_numpy(np.array(features[chosen]))
    mean, spread = rows.mean(0), rows.std(0, correction=0)
    spread = spread.clamp_min(max(1e-6, 1e-3 * float(spread.max())))
    rows = (rows - mean) / spread
    # In doubles: with fewer rows than features, fp32 finds no vectors for the many zeros.
    _, vectors = torch.linalg.eigh((rows.T @ rows).double())
    directions = vectors.flip(1)[:, :WIDTH].float().contiguous()  # the largest come last
    return Projection(mean, spread, directions, len(features))


def _save(folder: Path, projection: Projection) -> None:
    """Save the projection; it is complete when PROJECTION exists."""
    parts = {name: getattr(projection, name) for name in ("mean", "spread", "directions")}
    digest = write_atomically(folder / "projection.safetensors", save(parts))
    about = {"count": projection.count, "state": digest}
    write_atomically(folder / PROJECTION, json.dumps(about).encode())


def _load(folder: Path) -> Projection | None:
    """The projection in `folder`; None without one, and when it is damaged, which is printed."""
    if not (folder / PROJECTION).is_file():
        return None
    try:
        about = json.loads((folder / PROJECTION).read_bytes())
        parts = load(read_checked(folder / "projection.safetensors", about["state"]))
        return Projection(**parts, count=int(about["count"]))
    except Exception as error:  # JSON, safetensors and torch raise a dozen types
        print(f"the stored projection in {folder} is damaged and is made anew: {error}")
        return None
