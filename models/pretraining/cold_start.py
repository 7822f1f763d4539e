"""What images look like before any model was trained: embeddings, and in a sentence, whose."""

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

SECONDS = 90.0  # of teaching; more help less and less
FEWEST = 200  # images; from fewer a network learns nothing that their colours do not say
MOST = 50_000  # images to teach on: of more it would see none often enough
SAMPLE = 2_000  # images that say how much each feature varies
PRETRAINED_SIDE = 128  # pixels: a third of the work of 224


@dataclass(frozen=True)
class ColdStartEncoder:
    """Who makes the embeddings, of images of which size, and why it is that one."""

    network: Network
    side: int
    source: str
    count: int  # images there were when it was made


class Eyes(nn.Module):
    """Bodies that each look at an image and at its mirror; they weigh the same in a row.

    Each row comes out with length one.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, bodies: Sequence[nn.Module], side: int) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies).eval()
        with torch.inference_mode():
            self.widths = [body(torch.zeros(1, 3, side, side)).shape[1] for body in self.bodies]
        self.width = sum(self.widths)
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("spread", torch.ones(self.width))

    def raw(self, images: torch.Tensor) -> torch.Tensor:
        """What the bodies say of normalised images."""
        both = images, images.flip(3)
        return torch.cat([sum(body(seen).float() for seen in both) for body in self.bodies], dim=1)

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
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, str]:
    """Embeddings of the rows of `table`, float32 [n, width], and a sentence: where they are from.

    From torchvision's weights in the file `weights` or in torch's cache, nothing being fetched;
    else from a network taught on these very images for at most `seconds`; of fewer than FEWEST, or
    in no seconds, from colours and textures. Kept in `folder`: asked again, the same looker sees
    only what is new, until that is more than it was made of.
    """
    weights = weights or weights_at_hand()
    kind = _kind(weights, len(table), seconds)
    asked = [kind, seed, seconds, image_size, file_sha256(weights) if weights else ""]
    folder = folder / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    looker = _kept(folder, kind)
    if looker is None or len(table) > 2 * looker.count:
        images = _Images(table, shards, np.random.default_rng(seed), threads)
        if kind == "texture":
            looker = _by_texture(images)
        elif kind == "taught":
            looker = _by_teaching(images, seconds=seconds, seed=seed)
        else:
            looker = _by_weights(images, kind, Path(str(weights)))
        _keep(folder, looker)
    with cache_for(looker.network, folder / "scores") as cache:
        scored = score_table(
            looker.network,
            table,
            shards,
            looker.side,
            cache,
            threads=threads,
            name="the network of the features",
            on_progress=on_progress,
        )
    return scored.embeddings, looker.source


def weights_at_hand() -> Path | None:
    """The smallest file of torchvision's weights in torch's cache, where there is one."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [file for file in folder.glob("*.pth") if _backbone(file)]
    return min(files, key=lambda file: (file.stat().st_size, file.name), default=None)


def _backbone(weights: Path) -> str | None:
    """Whose weights they are: torchvision's files are called so, and a digest follows."""
    known = re.fullmatch(r"(\w+)-[0-9a-f]{8}", weights.stem)
    return known[1] if known and known[1] in backbones() else None


def _kind(weights: Path | None, count: int, seconds: float) -> str:
    """`texture`, `taught`, or the backbone that the weights are of."""
    if weights is None:
        return "texture" if count < FEWEST or seconds <= 0 else "taught"
    backbone = _backbone(weights)
    if backbone is None or not weights.is_file():
        raise ValueError(
            f"weights is {str(weights)!r}; choose None, or a file that is there and is named as "
            "torchvision names it, which says whose weights they are: resnet18-f37072fd.pth"
        )
    return backbone


@dataclass(frozen=True)
class _Images:
    """What a looker may be made from."""

    table: pd.DataFrame
    shards: Path
    rng: np.random.Generator
    threads: int

    def some(self, most: int, side: int) -> torch.Tensor:
        """At most so many of the images, drawn at random, uint8 [n, 3, side, side]."""
        rows = np.sort(self.rng.permutation(len(self.table))[:most])
        part = self.table.iloc[rows]
        images = open_images(part, self.shards, side, threads=self.threads, memory_bound=0)
        return torch.cat([images.take(np.arange(0)), *images.batches(BATCH)])


def _by_texture(images: _Images) -> ColdStartEncoder:
    count = len(images.table)
    why = f"{count} images are too few" if count < FEWEST else "there was no time"
    return _standard(
        _eyes("texture", texture.SIDE),
        images,
        texture.SIDE,
        f"colours and textures: no weights are at hand, and {why} to teach a network",
    )


def _by_teaching(images: _Images, *, seconds: float, seed: int) -> ColdStartEncoder:
    seen = images.some(MOST, simclr.SIDE)
    body, epochs = simclr.teach(seen, seconds=seconds, seed=seed, threads=images.threads)
    return _standard(
        Eyes([body, texture.Texture()], simclr.SIDE),
        images,
        simclr.SIDE,
        f"a small network taught without labels on {len(seen):,} images of the pool, "
        f"{epochs:.0f} times each, beside colours and textures: no weights are at hand",
    )


def _by_weights(images: _Images, backbone: str, weights: Path) -> ColdStartEncoder:
    side = 224 if backbone.startswith(("vit", "maxvit")) else PRETRAINED_SIDE
    return _standard(
        _eyes(backbone, side, str(weights)),
        images,
        side,
        f"torchvision's {backbone} with the weights at hand, {weights.name}",
    )


def _eyes(kind: str, side: int, weights: str | None = None) -> Eyes:
    """Eyes of this kind, as they are before anything was learned or read."""
    if kind == "texture":
        return Eyes([texture.Texture()], side)
    if kind == "taught":
        return Eyes([simclr.small_body(), texture.Texture()], side)
    config = NetworkConfig(kind, weights=weights, small_stem=False)
    return Eyes([build(config, classes=1, image_size=side).backbone], side)


def _standard(eyes: Eyes, images: _Images, side: int, source: str) -> ColdStartEncoder:
    """The looker with these eyes, each feature made to vary by one over (some of) the images."""
    network = Network(eyes, eyes.width, classes=1).eval()
    with torch.inference_mode(), threads_set(images.threads):
        raw = torch.cat(
            [
                eyes.raw((part - network.mean) / network.std)
                for part in images.some(SAMPLE, side).split(BATCH)
            ]
        )
    spread = raw.std(0, correction=0)
    eyes.mean.copy_(raw.mean(0))
    eyes.spread.copy_(spread.clamp_min(max(1e-6, 1e-3 * float(spread.max()))))
    return ColdStartEncoder(network, side, source, len(images.table))


def _keep(folder: Path, looker: ColdStartEncoder) -> None:
    """Write the looker down; it is there when `looker.json` is."""
    about = {"side": looker.side, "source": looker.source, "count": looker.count}
    state = {name: part.contiguous() for name, part in looker.network.state_dict().items()}
    digest = write_atomically(folder / "looker.safetensors", save(state))
    write_atomically(folder / "looker.json", json.dumps(about | {"state": digest}).encode())


def _kept(folder: Path, kind: str) -> ColdStartEncoder | None:
    """The looker in `folder`; None where there is none, or (printed) where it is damaged."""
    if not (folder / "looker.json").is_file():
        return None
    try:
        about = json.loads((folder / "looker.json").read_bytes())
        state = load(read_checked(folder / "looker.safetensors", about["state"]))
        eyes = _eyes(kind, about["side"])
        network = Network(eyes, eyes.width, classes=1).eval()
        load_state(network, state, source=str(folder))
        return ColdStartEncoder(network, about["side"], about["source"], about["count"])
    except (ValueError, KeyError, OSError) as error:
        print(f"the features kept in {folder} are made anew: {error}")
        return None
