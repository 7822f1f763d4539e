"""Images to compare the answers of runtimes on: given, of recorded traffic, or made."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from core.images import ImageRefused, decode_inspected, inspect_image
from models.network.images import prepare
from models.serving.segment_reader import read_records

MOST = 1000  # images of traffic, the newest
ENOUGH = 100  # real images; fewer say little about how often labels differ
MADE = 256


@dataclass(frozen=True)
class ProbeImages:
    """Images for a probe: uint8 [n, 3, s, s], and where they are from."""

    pixels: torch.Tensor
    words: str  # after a number: "audit and pool images"
    real: bool  # enough of what a camera took, or patterns


def given_images(descriptor: int) -> ProbeImages:
    """The images in an open file of numpy's, of the pool and the audit."""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(0)
        pixels = np.load(file, allow_pickle=False)
    is_enough = len(pixels) >= ENOUGH
    return ProbeImages(torch.from_numpy(pixels), "audit and pool images", real=is_enough)


def images_at_hand(traffic: Path | None, image_size: int) -> ProbeImages:
    """The newest images that were served here, or patterns where there are too few."""
    recorded = list(islice(_recorded(traffic, image_size), MOST)) if traffic else []
    if len(recorded) >= ENOUGH:
        return ProbeImages(torch.stack(recorded), "served images", real=True)
    return ProbeImages(patterns(MADE, image_size), "made images", real=False)


def patterns(count: int, image_size: int) -> torch.Tensor:
    """Coloured clouds with grain, seeded: as smooth in parts, and as rough, as photographs."""
    rng = torch.Generator().manual_seed(0)
    cells = torch.rand(count, 3, 4, 4, generator=rng) * 255
    size = (image_size, image_size)
    clouds = torch.nn.functional.interpolate(cells, size, mode="bilinear", align_corners=False)
    grain = (
        torch.randn(count, 3, *size, generator=rng) * 40 * torch.rand(count, 1, 1, 1, generator=rng)
    )
    return (clouds + grain).clamp(0, 255).byte()


def _recorded(traffic: Path, image_size: int) -> Iterator[torch.Tensor]:
    """The images in the segments of a service, newest segment first."""
    try:
        segments = sorted(traffic.glob("*.seg"), key=lambda path: path.stat().st_mtime)
        for path in reversed(segments):
            with path.open("rb") as file:
                for record in read_records(path):
                    file.seek(record.offset)
                    yield from _prepared(file.read(record.length), image_size)
    except FileNotFoundError:  # drained and removed meanwhile
        return


def _prepared(received: bytes, image_size: int) -> Iterator[torch.Tensor]:
    try:
        yield prepare(decode_inspected(inspect_image(received)), image_size)
    except ImageRefused:  # such are answered with an error, and not recorded
        return
