"""A small network trained on images without labels, so that two views of one image are close.

SimCLR (Chen et al. 2020), reduced to what a processor trains in a minute.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from models.network.network import Network
from models.network.precision import Precision, choose_precision, threads_set
from models.training.optimizer import rate_share

SIDE = 32  # pixels: small enough that a minute has thousands of batches
VIEW = 16  # side of the crops it is trained on: small crops allow more steps in the time
WIDTH = 32  # of the first block; the embedding has four times as many numbers
BATCH = 256
RATE = 2e-3
WARMUP = 0.1  # share of the training in which the rate rises
TEMPERATURE = 0.2
EPOCHS = 40  # more gain little
MIN_STEPS = 500  # a small pool is trained for more epochs than that

# Colours as brightness and two differences: hue is a rotation of the latter.
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


class Block(nn.Module):
    """A residual block: two convolutions and a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        step = 1 if before == after else 2
        self.first = nn.Conv2d(before, after, 3, step, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.around: nn.Module = nn.Identity()
        if step == 2:
            shrink = nn.AvgPool2d(2, ceil_mode=True)
            self.around = nn.Sequential(shrink, nn.Conv2d(before, after, 1, bias=False))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features of the block."""
        inner = torch.relu(self.norms[0](self.first(images)))
        return torch.relu(self.norms[1](self.second(inner)) + self.around(images))


def small_encoder(width: int = WIDTH) -> nn.Sequential:
    """A network with random weights: normalised images [n, 3, s, s] -> [n, 4 * width]."""
    return nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width, width),
        Block(width, 2 * width),
        Block(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class SimCLR(nn.Module):
    """An encoder and the projection head it is trained with, which is not used afterwards."""

    def __init__(self) -> None:
        super().__init__()
        width = 4 * WIDTH
        self.encoder = Network(small_encoder(), width, classes=1)
        self.projection_head = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 128)
        )

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """The projections of pixels from 0 to 255."""
        return self.projection_head(self.encoder.embed(views))


def train_simclr(
    images: torch.Tensor,
    *,
    seconds: float,
    seed: int,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[nn.Module, float]:
    """An encoder trained on these images (uint8 [n, 3, s, s]), and the number of epochs.

    `on_progress` gets the steps done and the steps that are expected, within `seconds`.

    It stops after EPOCHS (for a small pool, MIN_STEPS) or `seconds`, whichever comes first, with a
    rate near zero either way. Seeded; reproducible only when the seconds suffice and the same
    precision was measured to be the fastest.
    """
    size = min(BATCH, len(images))
    total = max(EPOCHS * (len(images) // size), MIN_STEPS)
    with threads_set(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        began = time.monotonic()
        model, rng = SimCLR(), np.random.default_rng(seed)
        first = two_views(images[:size], rng)
        precision = choose_precision("auto", model, first, start=_start, steps=total)
        precision.place(model).train()
        optimizer = _optimizer(model)
        rows = np.empty(0, np.int64)
        for step in range(total):
            share = max(step / total, (time.monotonic() - began) / max(seconds, 1e-9))
            if share >= 1:
                total = step
                break
            if on_progress and step:
                on_progress(step, max(round(step / share), step + 1))
            for group in optimizer.param_groups:
                group["lr"] = RATE * rate_share(int(1000 * share), 1000, WARMUP)
            rows = rows if len(rows) >= size else rng.permutation(len(images))
            views = two_views(images[torch.from_numpy(rows[:size])], rng)
            _learn(model, optimizer, precision.put(views), precision)
            rows = rows[size:]
    return model.encoder.backbone.cpu().eval(), total * size / len(images)


def two_views(images: torch.Tensor, rng: np.random.Generator, size: int = VIEW) -> torch.Tensor:
    """Float pixels [2n, 3, size, size]: two random views of each image, n and n."""
    pixels = images.float()
    return torch.cat([_recoloured(_cut(pixels, rng, size), rng) for _ in range(2)])


def nt_xent(projections: torch.Tensor) -> torch.Tensor:
    """The contrastive loss: cross-entropy of finding the other view of the same image."""
    unit = F.normalize(projections)
    similarity = unit @ unit.T / TEMPERATURE
    similarity.fill_diagonal_(-math.inf)
    half = len(unit) // 2
    other = torch.arange(len(unit), device=unit.device).roll(half)
    return F.cross_entropy(similarity, other)


def _start(model: nn.Module, precision: Precision) -> Callable[[torch.Tensor], None]:
    """The step function of a copy that is only timed."""
    optimizer = _optimizer(model.train())
    return lambda views: _learn(model, optimizer, views, precision)


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)


def _learn(
    model: nn.Module, optimizer: torch.optim.Optimizer, views: torch.Tensor, precision: Precision
) -> None:
    with precision.autocast():
        projections = model(views)
    loss = nt_xent(projections.float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _cut(pixels: torch.Tensor, rng: np.random.Generator, size: int) -> torch.Tensor:
    """A random crop of each image, from a fifth of its area to all of it, half of them mirrored."""
    count = len(pixels)
    area, shape = rng.uniform(0.2, 1, count), np.exp(rng.uniform(-0.3, 0.3, count))
    wide, tall = np.minimum(1, np.sqrt(area * shape)), np.minimum(1, np.sqrt(area / shape))
    place = np.zeros((count, 2, 3), np.float32)
    place[:, 0, 0], place[:, 1, 1] = wide * rng.choice([-1, 1], count), tall
    place[:, 0, 2] = (1 - wide) * rng.uniform(-1, 1, count)
    place[:, 1, 2] = (1 - tall) * rng.uniform(-1, 1, count)
    grid = F.affine_grid(torch.from_numpy(place), [count, 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _recoloured(crops: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation and hue changed for four in five; one in five grey."""
    count = len(crops)
    changed = rng.random(count) < 0.8
    light, contrast, colour = np.where(changed, rng.uniform(0.6, 1.4, (3, count)), 1.0)
    hue = np.where(changed, rng.uniform(-0.6, 0.6, count), 0.0)
    colour = np.where(rng.random(count) < 0.2, 0.0, colour)
    turned = np.zeros((count, 3, 3))
    turned[:, 0, 0] = 1
    turned[:, 1, 1] = turned[:, 2, 2] = colour * np.cos(hue)
    turned[:, 1, 2], turned[:, 2, 1] = -colour * np.sin(hue), colour * np.sin(hue)
    yiq = np.array(_YIQ)
    matrix = np.linalg.inv(yiq) @ turned @ yiq * (light * contrast)[:, None, None]
    flat = torch.bmm(torch.from_numpy(matrix).float(), crops.flatten(2))
    lift = torch.from_numpy(1 / contrast - 1).float().view(-1, 1, 1)
    return (flat + flat.mean((1, 2), keepdim=True) * lift).view_as(crops)
