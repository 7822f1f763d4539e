"""Exports: the network's numbers for batches of any size, made anew when damaged or of another."""

import os
from pathlib import Path

import pytest
import torch

from models.network.network import NetworkConfig, build
from models.runtimes.engines import OnnxRuntime
from models.runtimes.export import FILE, export, forget_exports
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_network


def images(count: int, side: int = SIZE) -> torch.Tensor:
    rng = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=rng)


def test_an_export_has_normalisation_temperature_and_embeddings_inside(tmp_path: Path) -> None:
    network = make_network()
    engine = OnnxRuntime("onnxruntime", export(network, SIZE, tmp_path, digest="a"), threads=1)
    for count in (1, 5):
        given, expected = engine.predict(images(count)), predict(network, images(count))
        assert given.outputs == pytest.approx(expected.outputs, abs=1e-5)
        assert given.embeddings == pytest.approx(expected.embeddings, abs=1e-3)
    assert not network.training


def test_an_export_that_is_there_is_used_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    network = make_network()
    path = export(network, SIZE, tmp_path, digest="a")
    sound, written = path.read_bytes(), path.stat().st_mtime_ns
    export(network, SIZE, tmp_path, digest="a")
    assert path.stat().st_mtime_ns == written
    path.write_bytes(sound[:1000])
    assert export(network, SIZE, tmp_path, digest="a").read_bytes() == sound
    (tmp_path / "model.json").write_text("[")
    assert export(network, SIZE, tmp_path, digest="a").read_bytes() == sound


def test_the_export_of_another_model_is_replaced(tmp_path: Path) -> None:
    path = export(make_network(0), SIZE, tmp_path, digest="a")
    first = path.read_bytes()
    assert export(make_network(1), SIZE, tmp_path, digest="b").read_bytes() != first


def test_only_the_newest_exports_stay_and_the_others_are_made_anew(tmp_path: Path) -> None:
    network = make_network()
    for number in range(4):
        path = export(network, SIZE, tmp_path / str(number), digest="a")
        os.utime(path, ns=(number, number))
    forget_exports(tmp_path, most=2)
    assert sorted(file.parent.name for file in tmp_path.glob(f"*/{FILE}")) == ["2", "3"]
    assert export(network, SIZE, tmp_path / "0", digest="a").is_file()


def test_a_network_that_onnx_has_no_words_for_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build(NetworkConfig("alexnet"), classes=2, image_size=64)
    with pytest.raises(ValueError, match=r"cannot be written as ONNX \(Unsupported") as caught:
        export(network, 64, tmp_path, digest="a")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / FILE).exists()
