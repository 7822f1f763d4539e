"""Networks by name and size, and weights that fit or are refused by name."""

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models as zoo

from models.network.images import MEAN, STD
from models.network.network import (
    Network,
    NetworkConfig,
    NoRandomWeights,
    backbones,
    build,
    load_state,
    put_weights,
)

SMALLEST = {  # of each family that is quick to make
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "mnasnet0_5": 1280,
    "mobilenet_v3_small": 1024,
    "regnet_x_400mf": 400,
    "resnet18": 512,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
}


def made(backbone: str = "squeezenet1_1", image_size: int = 8, **given: Any) -> Network:
    return build(NetworkConfig(backbone, **given), classes=3, image_size=image_size)


@pytest.mark.parametrize("backbone", SMALLEST)
def test_every_family_with_a_small_stem_takes_images_of_8_px(backbone):
    network = made(backbone).train()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert network.embed(images).shape == (2, SMALLEST[backbone])
    assert network(images).shape == (2, 3)


@pytest.mark.parametrize("backbone", [*SMALLEST, "efficientnet_lite0", "swin_t", "vit_b_32"])
def test_a_network_for_weights_at_hand_draws_none_and_answers_as_the_one_they_are_of(backbone):
    whole = made(backbone, 32).eval()
    before = torch.random.get_rng_state()
    with NoRandomWeights():
        network = made(backbone, 32)
    assert torch.random.get_rng_state().equal(before)
    put_weights(network, whole.state_dict())
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert network.eval()(images).equal(whole(images))


@pytest.mark.parametrize(("backbone", "size"), [("vit_b_32", 32), ("alexnet", 64)])
def test_families_without_a_stem_to_open_take_the_sizes_they_can(backbone, size):
    assert made(backbone, size)(torch.zeros(1, 3, size, size)).shape == (1, 3)


@pytest.mark.parametrize(("backbone", "size"), [("vit_b_32", 40), ("convnext_tiny", 8)])
def test_a_size_that_a_backbone_cannot_take_is_refused_with_those_that_can(backbone, size):
    with pytest.raises(ValueError, match=rf"{backbone} does not take images of {size} px.*resnet"):
        made(backbone, size)


def test_the_small_stem_is_for_images_under_64_px_unless_told_otherwise():
    auto = NetworkConfig()
    assert auto.has_small_stem(63) and not auto.has_small_stem(64)
    assert replace(auto, small_stem=True).has_small_stem(224)
    assert not replace(auto, small_stem=False).has_small_stem(8)
    assert not NetworkConfig("vit_b_16").has_small_stem(32)


def test_the_small_stem_of_a_resnet_keeps_every_pixel():
    stem: Any = made("resnet18").backbone
    assert stem.conv1.kernel_size == (3, 3) and stem.conv1.stride == (1, 1)
    assert stem.maxpool(torch.zeros(1, 64, 8, 8)).shape == (1, 64, 8, 8)
    large: Any = made("resnet18", 64).backbone
    assert large.conv1.stride == (2, 2)


def test_normalising_is_part_of_the_network_and_of_its_state():
    network = made()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    network.eval()(pixels)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    assert torch.allclose(seen[0], (pixels / 255 - mean) / std, atol=1e-5)
    assert {"mean", "std"} <= set(network.state_dict())


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'resnet19'; choose one of .*resnet18"):
        NetworkConfig("resnet19")
    with pytest.raises(ValueError, match="googlenet"):
        NetworkConfig("googlenet")
    assert "vit_b_16" in backbones()


def test_a_small_stem_is_refused_where_there_is_none_to_open():
    with pytest.raises(ValueError, match=r"small_stem is True with vit_b_16.*resnet"):
        NetworkConfig("vit_b_16", small_stem=True)


def test_weights_of_ours_and_of_torchvision_are_taken_from_either_kind_of_file(tmp_path):
    ours: Any = made()
    save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    torch.save(ours.state_dict(), tmp_path / "ours.pth")
    theirs = zoo.mobilenet_v3_small()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    for name in ("ours.safetensors", "ours.pth"):
        loaded: Any = made(weights=str(tmp_path / name))
        assert torch.equal(loaded.backbone.features[0].weight, ours.backbone.features[0].weight)
        assert not torch.equal(loaded.head.weight, ours.head.weight)
    loaded = made("mobilenet_v3_small", weights=str(tmp_path / "theirs.pth"))
    assert torch.equal(loaded.backbone.features[0][0].weight, theirs.features[0][0].weight)


def test_weights_that_do_not_fit_are_refused_with_the_names(tmp_path):
    state = made().backbone.state_dict()
    first, second, *_ = state
    state["stray"] = torch.zeros(1)
    state[first] = torch.zeros(1, 2)
    state[second] = torch.full_like(state[second], float("nan"))
    gone = list(state)[5]
    del state[gone]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(ValueError) as refused:
        made(weights=str(tmp_path / "broken.pth"))
    said = str(refused.value)
    assert "broken.pth" in said
    assert f"missing: {gone}" in said
    assert "unknown: stray" in said
    assert f"of another shape: {first} (1, 2)" in said
    assert f"not finite: {second}" in said


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("kind", ["torch", "pickle", "safetensors"])
def test_a_weights_file_with_code_is_refused_and_none_of_it_runs(tmp_path, kind):
    canary, path = tmp_path / "canary", tmp_path / "evil.pth"
    if kind == "torch":
        torch.save({"x": Payload(canary)}, path)
    else:
        path = path if kind == "pickle" else tmp_path / "evil.safetensors"
        path.write_bytes(pickle.dumps(Payload(canary), protocol=2))
    with pytest.raises(ValueError, match=path.name):
        made(weights=str(path))
    assert not canary.exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(2)])
def test_a_file_that_holds_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no state_dict"):
        made(weights=str(tmp_path / "other.pth"))


def test_a_missing_or_empty_or_cut_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        made(weights=str(tmp_path / "absent.pth"))
    (tmp_path / "empty.pth").touch()
    torch.save(made().state_dict(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    for name in ("empty.pth", "cut.pth"):
        with pytest.raises(ValueError, match=name):
            made(weights=str(tmp_path / name))


def test_torchvisions_own_weights_without_a_network_say_where_to_get_them(monkeypatch):
    def unreachable(*given, **named):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(
        ValueError, match=r"could not be fetched \(no route to host\).*https://.*pth"
    ):
        made("squeezenet1_1", 64, weights="default")


def test_a_state_goes_into_a_network_whole_or_not_at_all():
    one: Any
    one, other = made(), made()
    state = other.state_dict()
    state["head.bias"] = torch.tensor([0.0, float("inf"), 0.0])
    before = one.head.weight.clone()
    with pytest.raises(ValueError, match=r"hone:0007.*not finite: head\.bias"):
        load_state(one, state, source="hone:0007")
    assert torch.equal(one.head.weight, before)
