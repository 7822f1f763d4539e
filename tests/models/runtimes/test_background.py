"""A service answers with torch at once, and with what is faster once it is chosen and loaded."""

import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest
import torch

from models.registry.model_store import LoadedModel, load_model
from models.runtimes import background, probe_process
from models.runtimes.background import RuntimeChooser
from models.runtimes.choice import choice_path, choices, load_choice, model_folder
from models.runtimes.export import FILE
from models.runtimes.loading import served_as_chosen
from models.runtimes.machine import machine
from models.runtimes.policy import Policy
from models.runtimes.probe_process import Asked, ProbeFailed, probe_model
from models.runtimes.served import ServedRuntime
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_workspace, save

ORT = Policy.ONNXRUNTIME
IMAGES = torch.randint(
    0, 256, (67, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def settled(model: LoadedModel, seconds: float = 120) -> ServedRuntime:
    """The model's runtime once the choice was made or given up."""
    runtime = model.runtime
    assert isinstance(runtime, ServedRuntime)
    ends = time.monotonic() + seconds
    while not runtime.settled:
        assert time.monotonic() < ends
        time.sleep(0.02)
    return runtime


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    workspace, engine = make_workspace(tmp_path_factory.mktemp("one") / "workspace")
    return load_model(engine, workspace.bento_home, save(workspace, engine))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """No probe runs."""

    def refuse(*_: object) -> None:
        raise AssertionError("a probe was started")

    monkeypatch.setattr(probe_process, "_in_child", refuse)


def chooser(home: Path, policy: Policy = ORT) -> RuntimeChooser:
    return RuntimeChooser(home, policy=policy, threads=1)


@pytest.fixture(scope="module")
def chosen(model: LoadedModel, home: Path) -> list[LoadedModel]:
    """The model in two workers at once, on a machine without a record."""
    workers = [chooser(home), chooser(home)]
    served = [worker.attach(model) for worker in workers]
    expected = predict(model.network, IMAGES)
    for one in served:  # nothing waits for the probe, which takes seconds
        assert one.runtime is not None
        assert one.runtime.name == "torch"
        assert np.array_equal(one.runtime.predict(IMAGES).outputs, expected.outputs)
    for one in served:
        settled(one)
    assert "times as fast as torch" in workers[0].status(served[0])["choice"]
    for worker in workers:
        worker.stop()
    return served


def test_torch_answers_until_a_probe_has_chosen_and_then_what_it_chose(
    model: LoadedModel, chosen: list[LoadedModel]
) -> None:
    expected = predict(model.network, IMAGES)
    for one in chosen:
        runtime = settled(one)
        assert (runtime.name, runtime.problem) == ("onnxruntime", None)
        assert runtime.predict(IMAGES).outputs == pytest.approx(expected.outputs, abs=1e-5)


def test_two_workers_at_once_make_one_probe(chosen: list[LoadedModel], home: Path) -> None:
    first, second = (settled(one).choice for one in chosen)
    assert first is not None
    assert first == second  # its time and duration, too
    assert list(choices(model_folder(home, first.version))) == [first]


def test_a_record_is_used_without_a_probe_and_a_damaged_export_is_made_anew(
    model: LoadedModel, chosen: list[LoadedModel], home: Path, never: None
) -> None:
    path = model_folder(home, model.version) / FILE
    path.write_bytes(path.read_bytes()[:500])
    worker = chooser(home)
    runtime = settled(worker.attach(model))
    assert (runtime.name, runtime.problem) == ("onnxruntime", None)
    worker.stop()


def test_what_scores_batches_has_the_runtime_of_the_service(
    model: LoadedModel, chosen: list[LoadedModel], home: Path
) -> None:
    runtime = served_as_chosen(model, home, policy=ORT, threads=1)
    assert runtime is not None
    assert runtime.key == settled(chosen[0]).key != ""
    for other in ({"policy": Policy.TORCH}, {"policy": Policy.AUTO}, {"threads": 2}):
        asked = {"policy": ORT, "threads": 1} | other
        assert served_as_chosen(model, home, **asked) is None  # type: ignore[arg-type]


def test_a_chosen_runtime_that_does_not_load_any_more_is_named_and_torch_answers(
    model: LoadedModel, chosen: list[LoadedModel], home: Path, monkeypatch: pytest.MonkeyPatch,
    never: None,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise ImportError("libonnxruntime.so: cannot open shared object file")

    monkeypatch.setattr("models.runtimes.engines.OnnxRuntime.__init__", fail)
    worker = chooser(home)
    served = worker.attach(model)
    runtime = settled(served)
    assert runtime.name == "torch"
    assert "onnxruntime was chosen and cannot be used: libonnx" in str(runtime.problem)
    assert worker.status(served)["problem"] == runtime.problem
    assert len(runtime.predict(IMAGES)) == 67
    worker.stop()


def test_a_probe_that_fails_is_the_reason_why_torch_answers(
    model: LoadedModel, tmp_path: Path
) -> None:
    worker = chooser(tmp_path)
    damaged = replace(model, sha256="0" * 64)  # its files are others: the child refuses them
    runtime = settled(worker.attach(damaged))
    assert runtime.name == "torch"
    assert "the probe failed: ValueError: model hone:0001" in str(runtime.problem)
    worker.stop()


def test_a_probe_that_hangs_is_ended(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_process, "SECONDS", 0.05)
    with pytest.raises(ProbeFailed, match="took more than 0 s and was ended"):
        probe_process.choose(model, tmp_path, policy=ORT, threads=1)


def test_a_model_that_was_replaced_is_not_probed(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str] = []
    monkeypatch.setattr(background, "choose", lambda one, *_, **__: probed.append(one.version))
    worker = chooser(tmp_path, Policy.TORCH)  # without a thread
    assert worker.attach(model).runtime is None
    assert worker.status(model) == {"policy": "torch", "name": "torch"}
    worker = RuntimeChooser(tmp_path, policy=ORT, threads=1)
    worker.stop()  # its thread ends before it looks at the next one
    worker.attach(model)
    assert probed == []


def asked(model: LoadedModel, home: Path, images: int | None = None) -> Asked:
    folder, digest = str(model.folder), model.sha256
    return Asked(folder, model.version, digest, str(home), ORT, threads=1, images=images)


def test_given_images_are_what_answers_are_compared_on(model: LoadedModel, tmp_path: Path) -> None:
    with TemporaryFile() as file:
        np.save(file, IMAGES.numpy())
        file.flush()
        choice = probe_model(asked(model, tmp_path, images=os.dup(file.fileno())))
    assert choice.agreement["onnxruntime"].images == len(IMAGES)
    assert f"of {len(IMAGES)} audit and pool images" in choice.sentence()
    assert load_choice(model_folder(tmp_path, model.version), model.sha256, ORT, threads=1)


def test_a_choice_that_cannot_be_stored_is_an_error(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotADirectoryError):
        probe_model(asked(model, tmp_path / "file" / "runtimes"))


def test_a_damaged_record_is_no_record(
    model: LoadedModel, chosen: list[LoadedModel], home: Path, tmp_path: Path
) -> None:
    folder = model_folder(home, model.version)
    path = choice_path(folder, ORT, machine(1))
    written = path.read_bytes()
    try:
        path.write_bytes(written[:-20])
        assert load_choice(folder, model.sha256, ORT, threads=1) is None
    finally:
        path.write_bytes(written)
