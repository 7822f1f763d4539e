"""Snapshot rows -> batches of small images, prepared alike for training, scoring and serving."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from core.images import decode_image
from core.shards import ShardLocation, read_images

# ImageNet's, in units of 255: torchvision's weights expect them, training from scratch takes any.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

MEMORY_BOUND = 2 * 2**30  # bytes of decoded images cached; above, each batch is decoded anew
_AT_ONCE = 512  # images decoded at a time into the cache
_PENDING_BYTES = 2**23  # bytes of decoded pictures collected to be resized together

# Small enough that an augmented digit, sign or face keeps its class.
TURN = math.radians(10)
SHIFT = 0.1  # of the image's side
SCALE = 0.1
CONTRAST = 0.2
BRIGHTNESS = 25  # of 255


def prepare(picture: np.ndarray, image_size: int) -> torch.Tensor:
    """The picture [height, width, 3] as uint8 [3, image_size, image_size].

    The whole picture is resized to the square, antialiased: a crop would drop borders that the
    annotators saw.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"the picture is {picture.dtype} {picture.shape}; uint8 [height, width, 3] is needed"
        )
    copied = torch.from_numpy(picture.copy())  # decoders give read-only memory
    return _resized(copied.permute(2, 0, 1)[None], image_size)[0]


def _resized(pictures: torch.Tensor, image_size: int) -> torch.Tensor:
    """The pictures at [image_size, image_size], as torchvision's resize without its copies."""
    size = (image_size, image_size)
    if pictures.shape[2:] == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class ShardLocations(Sequence[ShardLocation]):
    """The shard locations of a table's images, built on access to save memory."""

    shards: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    digests: np.ndarray

    COLUMNS = ("shard", "offset", "length", "stored_sha256")

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[at] for at in range(*row.indices(len(self)))]
        return ShardLocation(
            str(self.shards[row]),
            int(self.offsets[row]),
            int(self.lengths[row]),
            str(self.digests[row]),
        )


@dataclass(frozen=True)
class Images:
    """The images of a table's rows, addressed by row number."""

    locations: Sequence[ShardLocation]
    shards: Path
    image_size: int
    threads: int
    cached: torch.Tensor | None  # all images, decoded once, when they fit

    def __len__(self) -> int:
        return len(self.locations)

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """The images of `rows` as uint8 [n, 3, image_size, image_size]."""
        if self.cached is not None:
            return self.cached[torch.from_numpy(rows)]
        return self.decode(rows).contiguous()

    def decode(self, rows: np.ndarray) -> torch.Tensor:
        """The images of `rows`, decoded anew, in the decoders' memory layout: channels last."""
        locations = [self.locations[row] for row in rows]
        size = max(1, math.ceil(len(locations) / self.threads))
        parts = [locations[start : start + size] for start in range(0, len(locations), size)]
        if len(parts) == 1:
            return _decoded(parts[0], self)
        with ThreadPoolExecutor(self.threads) as pool:
            decoded = list(pool.map(lambda part: _decoded(part, self), parts))
        return torch.cat(decoded) if decoded else _decoded([], self)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Every image once and in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))


def open_images(
    table: pd.DataFrame,
    shards: Path,
    image_size: int,
    *,
    threads: int = 1,
    memory_bound: int = MEMORY_BOUND,
) -> Images:
    """The images of `table` (columns shard, offset, length, stored_sha256), cached if they fit."""
    locations = ShardLocations(*(table[name].to_numpy() for name in ShardLocations.COLUMNS))
    images = Images(locations, shards, image_size, threads, cached=None)
    count = len(locations)
    if count * 3 * image_size**2 > memory_bound:
        return images
    cached = torch.empty(count, 3, image_size, image_size, dtype=torch.uint8)
    for start in range(0, count, _AT_ONCE):
        cached[start : start + _AT_ONCE] = images.decode(np.arange(count)[start:][:_AT_ONCE])
    return Images(locations, shards, image_size, threads, cached)


def augment(
    images: torch.Tensor, rng: np.random.Generator, *, flip: bool = False, strength: float = 1.0
) -> torch.Tensor:
    """Each image slightly rotated, shifted, scaled and recoloured; half of them flipped if `flip`.

    All changes are `strength` times as large. Takes uint8 or float pixels and returns floats, a few
    below 0 or above 255; seeded by `rng`.
    """
    count = len(images)
    draw = strength * rng.uniform(-1, 1, size=(6, count)).astype(np.float32)
    turn, scale = TURN * draw[0], 1 + SCALE * draw[1]
    mirror = np.where(rng.random(count) < 0.5, -1, 1) if flip else np.ones(count)
    theta = np.empty((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * np.cos(turn) * scale, -np.sin(turn) * scale
    theta[:, 1, 0], theta[:, 1, 1] = mirror * np.sin(turn) * scale, np.cos(turn) * scale
    theta[:, :, 2] = 2 * SHIFT * draw[2:4].T  # the grid goes from -1 to 1
    grid = F.affine_grid(
        torch.from_numpy(theta).to(images.device), list(images.shape), align_corners=False
    )
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    light = np.stack([1 + CONTRAST * draw[4], BRIGHTNESS * draw[5]])
    contrast, brightness = torch.from_numpy(light).to(images.device).view(2, count, 1, 1, 1)
    return moved * contrast + brightness


def _decoded(locations: Sequence[ShardLocation], images: Images) -> torch.Tensor:
    """The images at `locations`; those of one size are resized together, a few MiB at a time."""
    side = images.image_size
    squares = np.empty((len(locations), side, side, 3), np.uint8)
    pending: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = defaultdict(list)
    pending_bytes = 0
    for row, content in enumerate(read_images(images.shards, locations)):
        picture = decode_image(content)
        pending[picture.shape].append((row, picture))
        pending_bytes += picture.nbytes
        if pending_bytes > _PENDING_BYTES:
            _resize_pending(pending, squares)
            pending_bytes = 0
    _resize_pending(pending, squares)
    return torch.from_numpy(squares).permute(0, 3, 1, 2)


def _resize_pending(
    pending: dict[tuple[int, ...], list[tuple[int, np.ndarray]]], squares: np.ndarray
) -> None:
    """Write the pending pictures, resized, to their rows of `squares`, and clear `pending`."""
    for pictures in pending.values():
        stacked = torch.from_numpy(np.stack([picture for _, picture in pictures]))
        resized = _resized(stacked.permute(0, 3, 1, 2), squares.shape[1])
        squares[[row for row, _ in pictures]] = resized.permute(0, 2, 3, 1).numpy()
    pending.clear()
