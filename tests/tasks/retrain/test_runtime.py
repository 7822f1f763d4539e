"""One runtime serves, is judged and is watched: chosen on the audit and the pool, and packaged."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pytest
import torch

from models.judging.verdict import Outcome, Verdict
from models.network.images import open_images
from models.network.network import Network
from models.registry import bento
from models.registry.model_store import save_model
from models.runtimes import probe_process
from models.runtimes.agreement import Agreement
from models.runtimes.choice import Choice, Timed, model_folder, store_choice
from models.runtimes.machine import machine
from models.runtimes.policy import Policy
from models.runtimes.probe import SIZES
from models.runtimes.probe_process import ProbeFailed
from models.scoring.predict import predict_table
from models.serving.prediction_store import as_recorded
from models.training import tracking
from settings import Settings
from tasks.context import Context
from tasks.operate.status import load_status
from tasks.predictions import load_served, load_version, predict_with
from tasks.retrain import runtime as choosing
from tasks.retrain.reported import track_verdict
from tasks.retrain.runtime import choose_runtime, packages_of
from tasks.watch import reference
from tasks.watch.reference import load_reference
from tests.models.saved_models import SIZE, make_card, make_network, make_workspace, put_in_service
from tests.tasks.label.test_score_pool import put_pictures

ENGINE: Final = "onnxruntime"


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    workspace, engine = make_workspace(tmp_path / "workspace")
    yield Context(Settings(HONE_RUNTIME=ENGINE), workspace, engine)
    engine.dispose()


@pytest.fixture
def table(ctx: Context) -> pd.DataFrame:
    rows = put_pictures(ctx.workspace.shards)
    return rows.assign(label="dog", round_id=None, group_id=None, split=["test", "train"] * 6)


@pytest.fixture
def version(ctx: Context, table: pd.DataFrame) -> str:
    """A model whose stored predictions for the first four rows nobody could compute."""
    network = make_network()
    stored = predict_table(network, table.head(4), ctx.workspace.shards, SIZE)
    strange = replace(stored, outputs=np.full_like(stored.outputs, 1 / 3))
    names = table["sample_id"].head(4).tolist()
    return save_model(
        ctx.engine, ctx.workspace.bento_home, network, make_card(), strange, names
    )  # fmt: skip


@pytest.fixture
def choice(ctx: Context, version: str) -> Choice:
    """ONNX Runtime answers, by the record of this machine."""
    loaded = load_version(ctx, version)
    made = Choice(
        version, loaded.sha256, Policy.ONNXRUNTIME, machine(1), "2030", 9.0, "images",
        {size: Timed(ENGINE, 1.0, 4.0) for size in SIZES},
        {ENGINE: Agreement(1000, 1.0, 0.0, 0.0, 0.0, 0.0)},
    )  # fmt: skip
    store_choice(model_folder(ctx.workspace.runtimes, version), made)
    return made


def test_verdicts_are_on_the_outputs_of_the_runtime_that_serves(
    ctx: Context, table: pd.DataFrame, version: str, choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    expected = predict_table(make_network(), table, ctx.workspace.shards, SIZE)
    loaded, found = predict_with(ctx, version, table)
    assert loaded.runtime is not None
    assert loaded.runtime.name == ENGINE
    assert found.outputs == pytest.approx(expected.outputs, abs=1e-5)  # the stored ones, too
    with monkeypatch.context() as patch:
        patch.setattr(Network, "embed", lambda *_: pytest.fail("torch predicted"))
        _, again = predict_with(ctx, version, table)
    assert (again.outputs == found.outputs).all()
    eager = replace(ctx, settings=Settings(HONE_RUNTIME="torch"))
    _, by_torch = predict_with(eager, version, table)  # not those that another runtime computed
    assert (by_torch.outputs[:4] == np.float32(1 / 3)).all()
    np.testing.assert_allclose(by_torch.outputs[4:], expected.outputs[4:], atol=2e-6)


def test_the_reference_of_the_watch_is_of_the_runtime_that_serves(
    ctx: Context, table: pd.DataFrame, version: str, choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)
    expected = predict_table(make_network(), table.head(4), ctx.workspace.shards, SIZE)
    made = load_reference(ctx, load_served(ctx, version))
    assert made.missing == ()
    recorded = as_recorded(expected)
    assert made.window.outputs == pytest.approx(recorded.outputs, abs=2e-5)
    assert made.window.embeddings == pytest.approx(recorded.embeddings, abs=5e-3)


def test_a_reference_whose_images_are_away_is_torchs_and_that_is_named(
    ctx: Context, table: pd.DataFrame, version: str, choice: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)
    ctx.workspace.shards.rename(ctx.workspace.shards.with_name("away"))
    made = load_reference(ctx, load_served(ctx, version))
    assert "torch predicted the held-out images, onnxruntime the traffic" in made.missing[0]
    assert np.allclose(made.window.outputs, 1 / 3, atol=1e-4)


def test_a_probe_gets_the_images_of_the_audit_and_of_the_pool(
    ctx: Context, table: pd.DataFrame, version: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given: dict[str, Any] = {}

    def choose(model: object, home: Path, *, images: BinaryIO, **_: object) -> Choice:
        images.seek(0)
        given["pixels"] = np.load(images)
        return Choice(version, "d", Policy.AUTO, {}, "now", 4.0, "images", {})

    monkeypatch.setattr(probe_process, "choose", choose)
    monkeypatch.setattr(choosing, "load_snapshot", lambda *_: table)
    monkeypatch.setattr(choosing.rounds, "load_pool", lambda _: table[table["split"] == "train"])
    assert choose_runtime(ctx, version) is not None
    rows = pd.concat([table[table["split"] == split] for split in ("test", "train")])
    images = open_images(rows.reset_index(drop=True), ctx.workspace.shards, SIZE)
    assert torch.equal(torch.from_numpy(given["pixels"]), images.take(np.arange(12)))
    assert f"{version} is served with torch: nothing faster" in capsys.readouterr().out
    assert choose_runtime(replace(ctx, settings=Settings(HONE_RUNTIME="torch")), version) is None


def test_a_record_is_not_made_again(ctx: Context, version: str, choice: Choice) -> None:
    assert choose_runtime(ctx, version) == choice


def test_a_probe_that_fails_leaves_torch_and_a_sentence(
    ctx: Context, version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(*_: object, **__: object) -> Choice:
        raise ProbeFailed("the probe failed: No space left on device")

    monkeypatch.setattr(probe_process, "choose", choose)
    assert choose_runtime(ctx, version) is None
    assert f"{version} is served with torch: the probe failed: No space" in capsys.readouterr().out


def test_a_bento_installs_the_packages_of_what_was_chosen(
    tmp_path: Path, choice: Choice, ctx: Context
) -> None:
    packages = packages_of(choice)
    assert set(packages) == {"onnx", "onnxruntime"}
    assert packages_of(None) == {}
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("torch==2.14.0\n", encoding="utf-8")
    bento._add_packages(requirements, {**packages, "other": "1.0"})
    text = requirements.read_text(encoding="utf-8")
    assert text.startswith("torch==2.14.0\nonnx==")
    assert re.search(
        r"^onnxruntime==[0-9.]+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE
    )
    assert text.endswith("\nother==1.0\n")


def test_a_run_shows_the_runtime_of_its_model_beside_the_verdict(
    ctx: Context, version: str, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ctx.workspace.runs / "run-1"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"version": version}))
    monkeypatch.setattr(tracking, "_open_mirror", lambda *_, **__: None)
    track_verdict(ctx, version, Verdict(Outcome.HOLD, [], {}))
    figures = json.loads((folder / "summary.json").read_text())["verdict"]
    assert figures["runtime"] == choice.sentence()
    assert figures["runtime/speed_up"] == pytest.approx(4.0)


def test_the_status_names_the_runtime_with_its_speed_up(
    ctx: Context, version: str, choice: Choice
) -> None:
    assert load_status(ctx).runtime is None
    put_in_service(ctx.engine, version)
    assert load_status(ctx).runtime == choice.sentence()
    assert "onnxruntime for every batch: 4.0 times as fast as torch" in choice.sentence()
