"""A service answers with torch at once, and with what is faster once it is chosen and loaded."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.registry.model_store import LoadedModel, load_model
from models.runtimes.background import RuntimeChooser
from models.runtimes.policy import Policy
from models.runtimes.served import ServedRuntime
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_workspace, save

IMAGES = torch.randint(
    0, 256, (67, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    workspace, engine = make_workspace(tmp_path_factory.mktemp("one") / "workspace")
    return load_model(engine, workspace.bento_home, save(workspace, engine))


def test_torch_answers_until_a_probe_has_chosen_and_then_what_it_chose(
    model: LoadedModel, home: Path
) -> None:
    chooser = RuntimeChooser(home, policy=Policy.ONNXRUNTIME, threads=1)
    served = chooser.attach(model)
    runtime = served.runtime
    assert isinstance(runtime, ServedRuntime)
    expected = predict(model.network, IMAGES)
    assert np.array_equal(runtime.predict(IMAGES).outputs, expected.outputs)
    assert runtime.name == "torch"  # nothing waited for the probe, which takes seconds
    until(lambda: runtime.settled)
    assert (runtime.name, runtime.problem) == ("onnxruntime", None)
    assert runtime.predict(IMAGES).outputs == pytest.approx(expected.outputs, abs=1e-5)
    shown = chooser.status(served)
    assert shown["by_batch"]["64"] == "onnxruntime"
    assert "times as fast as torch" in shown["choice"]
    chooser.stop()
