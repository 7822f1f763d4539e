"""A small network that is taught on the pool's images without labels, by SimCLR.

Two random views of one image should land close, views of different images far apart.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from models.pretraining.simclr import nt_xent, small_encoder, two_views

PIXELS = 32


@dataclass(frozen=True)
class Recipe:
    """How the network is taught: all that changes its features."""

    epochs: float = 100.0  # an hour on two cores; 18 made features that are weaker by a tenth
    width: int = 64
    crop: int = 24  # views are this small while teaching: half the work, and no worse
    batch: int = 256
    rate: float = 2e-3
    seed: int = 0


def encoder(pool: list[np.ndarray], recipe: Recipe) -> Callable[[list[np.ndarray]], np.ndarray]:
    """The features of images by a network that was taught on the pool's."""
    body = taught(squares(pool), recipe)

    def encode(images: list[np.ndarray]) -> np.ndarray:
        small = squares(images)
        return (embedded(body, small) + embedded(body, small[:, :, ::-1].copy())) / 2

    return encode


def squares(images: list[np.ndarray], side: int = PIXELS) -> np.ndarray:
    """uint8 [n, side, side, 3]."""
    small = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
        for image in images
    ]
    return np.stack(small)


def taught(images: np.ndarray, recipe: Recipe) -> nn.Sequential:
    """A network taught on these images alone."""
    torch.manual_seed(recipe.seed)
    body = small_encoder(recipe.width).to(memory_format=torch.channels_last)
    width, size = 4 * recipe.width, min(recipe.batch, len(images))
    projector = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
                              nn.Linear(width, 128))  # fmt: skip
    parts = [*body.parameters(), *projector.parameters()]
    optimizer = torch.optim.AdamW(parts, lr=recipe.rate, weight_decay=1e-2)
    steps = max(1, int(recipe.epochs * (len(images) // size)))
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, steps, pct_start=0.1)
    rng, rows = np.random.default_rng(recipe.seed), np.empty(0, int)
    began, losses = time.monotonic(), np.zeros(steps)
    for step in range(steps):
        rows = rows if len(rows) >= size else rng.permutation(len(images))
        pixels = torch.from_numpy(images[rows[:size]]).permute(0, 3, 1, 2)
        rows = rows[size:]
        views = _around_zero(two_views(pixels, rng, recipe.crop))
        with torch.autocast("cpu", torch.bfloat16):
            projected = projector(body(views.contiguous(memory_format=torch.channels_last)))
        loss = nt_xent(projected.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        losses[step] = loss.item()
        if step % 100 == 99:
            text = f"step {step + 1}/{steps}: loss {losses[step - 99 : step + 1].mean():.3f}"
            print(f"{text}, {time.monotonic() - began:.0f} s", flush=True)
    return body.eval()


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 [n, s, s, 3] -> float [n, 3, s, s] around zero."""
    return _around_zero(torch.from_numpy(images).permute(0, 3, 1, 2).float())


def _around_zero(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels / 255 - 0.47) / 0.25


@torch.inference_mode()
def embedded(body: nn.Sequential, images: np.ndarray, chunk: int = 1000) -> np.ndarray:
    """One row of float32 for each image."""
    rows = []
    for begin in range(0, len(images), chunk):
        pixels = as_pixels(images[begin : begin + chunk])
        with torch.autocast("cpu", torch.bfloat16):
            outputs = body(pixels.contiguous(memory_format=torch.channels_last))
        rows.append(outputs.float().numpy())
    return np.concatenate(rows)
