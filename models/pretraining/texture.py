"""Colour and texture features of an image, computed without training."""

import math

import torch
import torch.nn.functional as F
from torch import nn

SIDE = 32  # pixels; finer detail is ignored
CELLS = 4  # cells along each side of the image
TURNS = 8  # directions of an edge


class Texture(nn.Module):
    """Normalised images [n, 3, SIDE, SIDE] -> colours, their spread, and edges by direction."""

    width = 3 * CELLS**2 + 3 * (CELLS // 2) ** 2 + TURNS * CELLS**2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One row of float32 for each image."""
        images = images.float()
        colours = F.adaptive_avg_pool2d(images, CELLS)
        coarse = [F.adaptive_avg_pool2d(part, CELLS // 2) for part in (images, images**2)]
        spread = (coarse[1] - coarse[0] ** 2).clamp_min(0).sqrt()
        return torch.cat([part.flatten(1) for part in (colours, spread, _edges(images))], dim=1)


def _edges(images: torch.Tensor) -> torch.Tensor:
    """The strength of the edges of each direction in each cell, regardless of their sign."""
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    down = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    strength = (across**2 + down**2).sqrt()
    turn = torch.atan2(down, across) % math.pi * (TURNS / math.pi)
    centre = torch.arange(TURNS, device=images.device).view(1, -1, 1, 1)
    away = (turn - centre).abs()
    near = (1 - torch.minimum(away, TURNS - away)).clamp_min(0)  # shared by the two next to it
    return F.adaptive_avg_pool2d(near * strength, CELLS).sqrt()
