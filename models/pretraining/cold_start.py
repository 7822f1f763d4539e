"""Embeddings before any model was trained, with a sentence about their source."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from core.files import read_checked, write_atomically
from models.network.images import open_images
from models.network.network import Network, load_state
from models.network.precision import threads_set
from models.network.weights import (
    FILE,
    LITE0,
    Pretrained,
    lite0_installed,
    lite0_weights,
    torchvision_at_hand,
    weights_in,
)
from models.pretraining import simclr, texture
from models.pretraining.pretrained import pretrained_embeddings
from models.runtimes.policy import Policy
from models.scoring.predict import BATCH
from models.scoring.score_pool import cache_for, score_table

SECONDS = 90.0  # of training; the gain of more diminishes
MIN_IMAGES = 200  # from fewer a network learns nothing beyond colours and textures
MAX_IMAGES = 50_000  # to train on: more would be repeated too rarely in the time
OUTGROWN = 2  # times as many images as a network was made from: another one is made
SAMPLE = 2_000  # images that each feature's standard deviation is estimated from
# Pixels; on digits of 8 px a linear head with 50 labels is right in 0.66 on the features of
# EfficientNet-Lite0 and in 0.82 on colours and textures.
SMALLEST = 16
AUTO, TORCHVISION, SIMCLR, TEXTURE = "auto", "torchvision", "simclr", "texture"


@dataclass(frozen=True)
class ColdStartEncoder:
    """The network that makes the embeddings, its image size and its source."""

    network: Network
    side: int
    source: str
    count: int  # images there were when it was made


class Encoder(nn.Module):
    """Concatenated encoders of an image and its mirror image, equally weighted.

    Each embedding has length one.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, encoders: Sequence[nn.Module], side: int) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(encoders).eval()
        with torch.inference_mode():
            self.widths = [body(torch.zeros(1, 3, side, side)).shape[1] for body in self.bodies]
        self.width = sum(self.widths)
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("spread", torch.ones(self.width))

    def raw(self, images: torch.Tensor) -> torch.Tensor:
        """The features of normalised images, not yet standardised."""
        both = images, images.flip(3)
        return torch.cat([sum(body(view).float() for view in both) for body in self.bodies], dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One row for each normalised image."""
        rows = (self.raw(images) - self.mean) / self.spread
        parts = [F.normalize(part) for part in rows.split(self.widths, dim=1)]
        return torch.cat(parts, dim=1) / math.sqrt(len(parts))


def cold_start_embeddings(
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    *,
    folder: Path,
    features: str = AUTO,
    seed: int = 0,
    seconds: float = SECONDS,
    threads: int = 1,
    policy: Policy = Policy.AUTO,
    on_training: Callable[[int, int], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, str]:
    """Embeddings of the rows of `table`, float32 [n, width], and a sentence about their source.

    `features` is one of `choose_encoder`, and `policy` says which runtimes may compute those of
    published weights. Nothing is downloaded. What makes the embeddings is stored in `folder` and
    embeds only new images in later calls; one that was trained or scaled on these images is made
    anew when the new ones outnumber the old.
    """
    chosen = choose_encoder(features, len(table), seconds, image_size)
    if isinstance(chosen, Pretrained):
        embeddings = pretrained_embeddings(
            chosen,
            table,
            shards,
            folder=folder,
            seed=seed,
            threads=threads,
            policy=policy,
            on_progress=on_progress,
        )
        return embeddings, str(chosen)
    folder = _folder_of(folder, chosen, seed, seconds, image_size)
    encoder = _load_encoder(folder, chosen)
    if encoder is None or len(table) > OUTGROWN * encoder.count:
        images = _Images(table, shards, np.random.default_rng(seed), threads)
        if chosen == TEXTURE:
            encoder = _by_texture(images, features)
        else:
            encoder = _by_simclr(images, seconds=seconds, seed=seed, on_training=on_training)
        _save_encoder(folder, encoder)
    return _embeddings(encoder, table, shards, folder, threads, on_progress), encoder.source


def is_at_hand(
    count: int, image_size: int, *, folder: Path, features: str, seconds: float, seed: int = 0
) -> bool:
    """Whether `cold_start_embeddings` would embed so many images without making a network first."""
    chosen = choose_encoder(features, count, seconds, image_size)
    if isinstance(chosen, Pretrained):
        return True
    encoder = _load_encoder(_folder_of(folder, chosen, seed, seconds, image_size), chosen)
    return encoder is not None and count <= OUTGROWN * encoder.count


def _folder_of(folder: Path, chosen: str, seed: int, seconds: float, image_size: int) -> Path:
    """Where the network of these images is stored."""
    identity = [chosen, seed, float(seconds), image_size, ""]
    return folder / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def choose_encoder(features: str, count: int, seconds: float, image_size: int) -> Pretrained | str:
    """The pretrained weights that `features` stands for, or SIMCLR or TEXTURE.

    "auto" is the first at hand of: the package of EfficientNet-Lite0, the smallest weights in
    torch's cache, a small network trained on the `count` images, colours and textures; with images
    under SMALLEST px of the last two. Any of these can be named, or a file of published weights
    given. SIMCLR with fewer than MIN_IMAGES, or no time, is TEXTURE.
    """
    large = features == AUTO and image_size >= SMALLEST
    if features == LITE0 or (large and lite0_installed()):
        return lite0_weights()
    file = torchvision_at_hand() if large or features == TORCHVISION else None
    if file is not None:
        return weights_in(file)
    if features in (AUTO, SIMCLR):
        return TEXTURE if count < MIN_IMAGES or seconds <= 0 else SIMCLR
    if features == TEXTURE:
        return TEXTURE
    if features != TORCHVISION and Path(features).is_file():
        return weights_in(Path(features))
    cause = "torch's cache has none" if features == TORCHVISION else "there is no such file"
    raise ValueError(
        f"features (HONE_FEATURES) is {features!r}, and {cause}; choose "
        f"{', '.join((AUTO, LITE0, TORCHVISION, SIMCLR, TEXTURE))}, or a file of published weights "
        f"with its published name: {FILE}, resnet18-f37072fd.pth"
    )


def _embeddings(
    encoder: ColdStartEncoder,
    table: pd.DataFrame,
    shards: Path,
    folder: Path,
    threads: int,
    on_progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    with cache_for(encoder.network, folder / "scores") as cache:
        return score_table(
            encoder.network,
            table,
            shards,
            encoder.side,
            cache,
            threads=threads,
            name="the network of the features",
            on_progress=on_progress,
        ).embeddings


@dataclass(frozen=True)
class _Images:
    """The images that an encoder is made from."""

    table: pd.DataFrame
    shards: Path
    rng: np.random.Generator
    threads: int

    def sample(self, most: int, side: int) -> torch.Tensor:
        """At most so many of the images, drawn at random, uint8 [n, 3, side, side]."""
        rows = np.sort(self.rng.permutation(len(self.table))[:most])
        part = self.table.iloc[rows]
        images = open_images(part, self.shards, side, threads=self.threads, memory_bound=0)
        return torch.cat([images.take(np.arange(0)), *images.batches(BATCH)])


def _by_texture(images: _Images, features: str) -> ColdStartEncoder:
    count = len(images.table)
    why = f"{count} images are too few" if count < MIN_IMAGES else "there was no time"
    return _standard(
        _encoder(TEXTURE, texture.SIDE),
        images,
        texture.SIDE,
        "colours and textures, as chosen"
        if features == TEXTURE
        else f"colours and textures: {why} to train a network, and no pretrained one is used",
    )


def _by_simclr(
    images: _Images,
    *,
    seconds: float,
    seed: int,
    on_training: Callable[[int, int], None] | None,
) -> ColdStartEncoder:
    crops = images.sample(MAX_IMAGES, simclr.SIDE)
    body, epochs = simclr.train_simclr(
        crops, seconds=seconds, seed=seed, threads=images.threads, on_progress=on_training
    )
    return _standard(
        Encoder([body, texture.Texture()], simclr.SIDE),
        images,
        simclr.SIDE,
        f"a small network trained without labels on {len(crops):,} images of the pool, "
        f"{epochs:.0f} times each, beside colours and textures",
    )


def _encoder(kind: str, side: int) -> Encoder:
    """An encoder of this kind with random weights."""
    trained = [simclr.small_encoder()] if kind == SIMCLR else []
    return Encoder([*trained, texture.Texture()], side)


def _standard(encoder: Encoder, images: _Images, side: int, source: str) -> ColdStartEncoder:
    """The encoder, its features scaled to unit variance over a sample of the images."""
    network = Network(encoder, encoder.width, classes=1).eval()
    with torch.inference_mode(), threads_set(images.threads):
        raw = torch.cat(
            [
                encoder.raw((part - network.mean) / network.std)
                for part in images.sample(SAMPLE, side).split(BATCH)
            ]
        )
    spread = raw.std(0, correction=0)
    encoder.mean.copy_(raw.mean(0))
    encoder.spread.copy_(spread.clamp_min(max(1e-6, 1e-3 * float(spread.max()))))
    return ColdStartEncoder(network, side, source, len(images.table))


def _save_encoder(folder: Path, encoder: ColdStartEncoder) -> None:
    """Save the encoder; it is complete when `encoder.json` exists."""
    about = {"side": encoder.side, "source": encoder.source, "count": encoder.count}
    state = {name: part.contiguous() for name, part in encoder.network.state_dict().items()}
    digest = write_atomically(folder / "encoder.safetensors", save(state))
    write_atomically(folder / "encoder.json", json.dumps(about | {"state": digest}).encode())


def _load_encoder(folder: Path, kind: str) -> ColdStartEncoder | None:
    """The encoder in `folder`; None without one, and when it is damaged, which is printed."""
    if not (folder / "encoder.json").is_file():
        return None
    try:
        about = json.loads((folder / "encoder.json").read_bytes())
        state = load(read_checked(folder / "encoder.safetensors", about["state"]))
        encoder = _encoder(kind, about["side"])
        network = Network(encoder, encoder.width, classes=1).eval()
        load_state(network, state, source=str(folder))
        return ColdStartEncoder(network, about["side"], about["source"], about["count"])
    except Exception as error:  # JSON, safetensors and torch raise a dozen types
        print(f"the stored encoder in {folder} is damaged and is made anew: {error}")
        return None
