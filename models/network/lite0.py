"""EfficientNet-Lite0: a backbone made for processors, of 3.4 million weights.

The architecture of Tan and Le (2019) without its attention and with ReLU6, as its authors published
it for small devices.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

STEM, WIDTH = 32, 1280
# Of each stage: expansion, channels, kernel, stride of its first block, blocks.
STAGES = (
    (1, 16, 3, 1, 1),
    (6, 24, 3, 2, 2),
    (6, 40, 5, 2, 2),
    (6, 80, 3, 2, 3),
    (6, 112, 5, 1, 3),
    (6, 192, 5, 2, 4),
    (6, 320, 3, 1, 1),
)
# In units of 255, as the published weights were trained: with the mean and deviation of ImageNet in
# their place, a linear head on 50 to 1,000 labels of CIFAR-10 loses 3 to 4 points at 128 px.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
EPSILON = 1e-3  # of BatchNorm, which the published weights were trained with
CLASSIFIER = "fc"  # of the published weights; no part of the backbone

# Published names of parts and ours: those of a block, then those of the whole.
_OF_BLOCK = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}
_OF_WHOLE = {
    "_conv_stem": "stem.0",
    "_bn0": "stem.1",
    "_conv_head": "top.0",
    "_bn1": "top.1",
    "_fc": CLASSIFIER,
}


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride, more at the right and bottom."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features, of 1 / stride of the side of the images."""
        extra = self.kernel_size[0] - self.stride[0]
        before, after = extra // 2, extra - extra // 2
        if before == after:
            return F.conv2d(
                images, self.weight, None, self.stride, before, self.dilation, self.groups
            )
        return super().forward(F.pad(images, (before, after, before, after)))


def _layer(
    before: int, after: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, bent: bool = True
) -> nn.Sequential:
    """A convolution, its BatchNorm and, where the function is `bent`, a ReLU6."""
    conv = SameConv(before, after, kernel, stride, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    norm = nn.BatchNorm2d(after, eps=EPSILON)
    return nn.Sequential(conv, norm, *([nn.ReLU6(inplace=True)] if bent else []))


class Block(nn.Module):
    """An inverted residual block: wider, filtered by channel, narrower, and a shortcut."""

    def __init__(self, before: int, after: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = expansion * before
        self.expand = _layer(before, wide) if expansion > 1 else nn.Identity()
        self.depthwise = _layer(wide, wide, kernel, stride, groups=wide)
        self.project = _layer(wide, after, bent=False)
        self.has_shortcut = stride == 1 and before == after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features of the block."""
        inner = self.project(self.depthwise(self.expand(images)))
        return images + inner if self.has_shortcut else inner


class Lite0(nn.Module):
    """Normalised images [n, 3, s, s] -> embeddings [n, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        blocks, before = [], STEM
        for expansion, after, kernel, stride, count in STAGES:
            for number in range(count):
                step = 1 if number else stride
                blocks.append(Block(before, after, expansion, kernel, step))
                before = after
        self.stem = _layer(3, STEM, 3, 2)
        self.blocks = nn.Sequential(*blocks)
        self.top = _layer(before, WIDTH)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The mean over the image of the last features."""
        return self.top(self.blocks(self.stem(images))).mean((2, 3))


def own_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state with our names in place of the published ones; others stay as they are."""
    return {_own_name(name): part for name, part in state.items()}


def _own_name(name: str) -> str:
    block = re.fullmatch(r"_(blocks\.\d+)\.(\w+)\.(\w+)", name)
    if block:
        place, part, which = block.groups()
        return f"{place}.{_OF_BLOCK.get(part, part)}.{which}"
    part, dot, which = name.partition(".")
    return f"{_OF_WHOLE.get(part, part)}{dot}{which}"
