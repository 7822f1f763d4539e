"""Colours and textures tell apart what eyes tell apart at a glance, and nothing is learned."""

import pytest
import torch

from models.pretraining.texture import SIDE, TURNS, Texture


def seen(image):
    """What is said of one image [3, SIDE, SIDE], or of several."""
    return Texture()(image.view(-1, 3, SIDE, SIDE))


def stripes(period, *, lying=False):
    wave = ((torch.arange(SIDE) // period) % 2).float().expand(3, SIDE, SIDE)
    return wave.transpose(1, 2) if lying else wave


def test_each_image_gets_a_finite_row_of_the_width_that_was_told():
    images = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    rows = Texture()(images)
    assert rows.shape == (5, Texture.width) and rows.dtype == torch.float32
    assert torch.isfinite(rows).all()


def test_a_plain_colour_is_that_colour_without_spread_or_edges():
    rows = seen(torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1).expand(3, SIDE, SIDE))
    colours, rest = rows[0, :48].view(3, -1), rows[0, 48:]
    assert torch.allclose(colours.mean(1), torch.tensor([1.0, -2.0, 0.5]))
    assert rest.abs().max() < 1e-2


def test_edges_are_told_by_direction_and_not_by_sign():
    upright, lying = (seen(stripes(4, lying=way)) for way in (False, True))
    edges = [row[0, -16 * TURNS :].view(TURNS, -1).sum(1) for row in (upright, lying)]
    assert edges[0].argmax() == 0 and edges[1].argmax() == TURNS // 2
    assert torch.allclose(seen(-stripes(4))[0, -16 * TURNS :], upright[0, -16 * TURNS :], atol=1e-5)


@pytest.mark.parametrize("change", [lambda image: image + 1, lambda image: image.roll(1, 0)])
def test_another_colour_is_another_row(change):
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    assert (seen(image) - seen(change(image))).abs().max() > 0.1
