"""Engines: several threads at once, numbers that are finite, and nothing sent to anybody."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.registry.model_store import LoadedModel
from models.runtimes.candidates import CANDIDATES
from models.runtimes.loading import source_of
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_card, make_network

ENGINES = [name for name, one in CANDIDATES.items() if one.family != "torch"]
NETWORK = make_network()
MODEL = LoadedModel("hone:0001-a", "abc", NETWORK, make_card(), predict(NETWORK, torch.empty(0)))
IMAGES = torch.randint(
    0, 256, (8, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)
TELEMETRY = """
import socket, sys
from pathlib import Path
def refuse(*_): raise AssertionError("a connection was made")
socket.socket.connect = socket.getaddrinfo = refuse
from models.runtimes.engines import OnnxRuntime, OpenVino
from tests.models.saved_models import SIZE
import torch
for engine in (OnnxRuntime("a", Path(sys.argv[1]), threads=1),
               OpenVino("b", Path(sys.argv[1]), precision="f32", threads=1)):
    engine.predict(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""


@pytest.mark.parametrize("name", ENGINES)
def test_several_threads_get_their_own_answers(name: str, tmp_path: Path) -> None:
    engine = CANDIDATES[name].load(source_of(MODEL, tmp_path, threads=1))
    alone = [engine.predict(image[None]).outputs for image in IMAGES]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda image: engine.predict(image[None]).outputs, list(IMAGES) * 5)
        for expected, given in zip(alone * 5, together, strict=True):
            assert np.allclose(given, expected, atol=1e-6)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_whose_file_gives_no_number_is_an_error_that_names_it(
    name: str, tmp_path: Path
) -> None:
    source = source_of(MODEL, tmp_path, threads=1)
    path = source.export()
    model = onnx.load(path)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT and "head" in weights.name:
            values = np.full(tuple(weights.dims), np.nan, np.float32)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, tmp_path / "broken.onnx")
    broken = source.__class__(NETWORK, "hone:1", 1, lambda: tmp_path / "broken.onnx")
    with pytest.raises(ValueError, match=f"{name} gave outputs that are not finite for 8 of 8"):
        CANDIDATES[name].load(broken).predict(IMAGES)


def test_engines_connect_to_nobody_and_leave_no_file(tmp_path: Path) -> None:
    path = source_of(MODEL, tmp_path / "runtimes", threads=1).export()
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY, str(path)],
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
