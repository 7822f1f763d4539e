"""Embeddings before any model was trained, with a sentence about their source."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from core.files import file_sha256, read_checked, write_atomically
from models.network.images import open_images
from models.network.network import Network, NetworkConfig, backbones, build, load_state
from models.network.precision import threads_set
from models.pretraining import simclr, texture
from models.scoring.predict import BATCH
from models.scoring.score_pool import cache_for, score_table

SECONDS = 90.0  # of training; the gain of more diminishes
MIN_IMAGES = 200  # from fewer a network learns nothing beyond colours and textures
MAX_IMAGES = 50_000  # to train on: more would be repeated too rarely in the time
SAMPLE = 2_000  # images that each feature's standard deviation is estimated from
PRETRAINED_SIDE = 128  # pixels: a third of the work of 224


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
    weights: Path | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    threads: int = 1,
    on_training: Callable[[int, int], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, str]:
    """Embeddings of the rows of `table`, float32 [n, width], and a sentence about their source.

    The encoder has torchvision's weights from the file `weights` or from torch's cache, without
    downloading; else it is trained on these images for at most `seconds`; with fewer than
    MIN_IMAGES, or 0 seconds, it computes colours and textures. It is stored in `folder` and
    embeds only new images in later calls, until they outnumber those it was made from.
    """
    weights = weights or weights_at_hand()
    kind = _kind(weights, len(table), seconds)
    identity = [kind, seed, seconds, image_size, file_sha256(weights) if weights else ""]
    folder = folder / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    encoder = _load_encoder(folder, kind)
    if encoder is None or len(table) > 2 * encoder.count:
        images = _Images(table, shards, np.random.default_rng(seed), threads)
        if kind == "texture":
            encoder = _by_texture(images)
        elif kind == "simclr":
            encoder = _by_simclr(images, seconds=seconds, seed=seed, on_training=on_training)
        else:
            encoder = _by_weights(images, kind, Path(str(weights)))
        _save_encoder(folder, encoder)
    with cache_for(encoder.network, folder / "scores") as cache:
        scored = score_table(
            encoder.network,
            table,
            shards,
            encoder.side,
            cache,
            threads=threads,
            name="the network of the features",
            on_progress=on_progress,
        )
    return scored.embeddings, encoder.source


def weights_at_hand() -> Path | None:
    """The smallest file of torchvision's weights in torch's cache; None without one."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [file for file in folder.glob("*.pth") if _backbone(file)]
    return min(files, key=lambda file: (file.stat().st_size, file.name), default=None)


def _backbone(weights: Path) -> str | None:
    """The backbone in the name of torchvision's weights files, which a digest follows."""
    known = re.fullmatch(r"(\w+)-[0-9a-f]{8}", weights.stem)
    return known[1] if known and known[1] in backbones() else None


def _kind(weights: Path | None, count: int, seconds: float) -> str:
    """`texture`, `simclr`, or the backbone that the weights are of."""
    if weights is None:
        return "texture" if count < MIN_IMAGES or seconds <= 0 else "simclr"
    backbone = _backbone(weights)
    if backbone is None or not weights.is_file():
        raise ValueError(
            f"weights is {str(weights)!r}; choose None, or a file with torchvision's name "
            "for it, which names the backbone: resnet18-f37072fd.pth"
        )
    return backbone


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


def _by_texture(images: _Images) -> ColdStartEncoder:
    count = len(images.table)
    why = f"{count} images are too few" if count < MIN_IMAGES else "there was no time"
    return _standard(
        _encoder("texture", texture.SIDE),
        images,
        texture.SIDE,
        f"colours and textures: no weights are at hand, and {why} to train a network",
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
        f"{epochs:.0f} times each, beside colours and textures: no weights are at hand",
    )


def _by_weights(images: _Images, backbone: str, weights: Path) -> ColdStartEncoder:
    side = 224 if backbone.startswith(("vit", "maxvit")) else PRETRAINED_SIDE
    return _standard(
        _encoder(backbone, side, str(weights)),
        images,
        side,
        f"torchvision's {backbone} with the weights at hand, {weights.name}",
    )


def _encoder(kind: str, side: int, weights: str | None = None) -> Encoder:
    """An encoder of this kind with random weights."""
    if kind == "texture":
        return Encoder([texture.Texture()], side)
    if kind == "simclr":
        return Encoder([simclr.small_encoder(), texture.Texture()], side)
    config = NetworkConfig(kind, weights=weights, small_stem=False)
    return Encoder([build(config, classes=1, image_size=side).backbone], side)


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
