"""Which snapshot is trained on, and what is printed when none can be."""

import json
import re
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from core.locks import LockBusy, LockLost, only_writer
from labeling.quality.student import TrainPolicy
from labeling.snapshots.table import SnapshotConfig
from models.network.network import NetworkConfig, build
from models.registry.versions import find_model
from models.training.config import TrainConfig
from settings import Settings
from tasks.collect import freeze
from tasks.context import open_context
from tasks.direct_run import direct_runs
from tasks.retrain import train
from tests.tasks.labelled_folders import import_images, new_workspace


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_workspace(tmp_path, monkeypatch)


def cut() -> str | None:
    name: str | None = freeze.freeze_labels.fn(SnapshotConfig(), TrainPolicy(), every=1)
    return name


def test_without_a_snapshot_there_is_nothing_to_train_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.choose_snapshot.fn(None) is None
    assert capsys.readouterr().out == (
        "nothing to train on: there is no snapshot; `hone collect` cuts one from the answers\n"
    )
    with pytest.raises(ValueError, match="'snapshot-0007' is no snapshot; there are: none yet"):
        train.choose_snapshot.fn("snapshot-0007")


def test_a_snapshot_that_cannot_be_trained_on_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_images(tmp_path / "gold", gold=True, cat=2, dog=2)
    assert cut() == "snapshot-0001"
    capsys.readouterr()
    assert train.choose_snapshot.fn(None) is None
    sentence = capsys.readouterr().out
    assert sentence.startswith("snapshot-0001 cannot be trained on: none of the 4 rows")
    assert sentence.count("\n") == 1
    with pytest.raises(ValueError, match="snapshot-0001 cannot be trained on"):
        train.choose_snapshot.fn("snapshot-0001")


def test_the_newest_is_chosen_once_no_other_training_is_under_way(tmp_path: Path) -> None:
    import_images(tmp_path / "first", cat=3, dog=3)
    assert cut() == "snapshot-0001"
    with only_writer(open_context().engine, train.LOCK), pytest.raises(LockBusy):
        train.choose_snapshot.fn(None)
    import_images(tmp_path / "next", cat=1)
    assert cut() == "snapshot-0002"
    assert train.choose_snapshot.fn(None) == "snapshot-0002"
    assert train.choose_snapshot.fn("snapshot-0001") == "snapshot-0001"


def test_a_training_ends_at_the_next_epoch_once_its_lock_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_images(tmp_path / "first", cat=3, dog=3)
    assert cut() == "snapshot-0001"
    epochs: list[int] = []

    def training(
        *given: object, on_epoch: Callable[[dict[str, Any]], None], **options: object
    ) -> None:
        for epoch in range(1, 4):
            on_epoch({"epoch": epoch})
            epochs.append(epoch)
            token.mark_lost()  # as the renewal does when another process has taken the lock

    monkeypatch.setattr("models.training.train.train", training)
    monkeypatch.setattr(
        "models.training.tracking.tracked_run", lambda *_, **__: nullcontext(Mock())
    )
    ctx, recipe = open_context(), (NetworkConfig(), TrainConfig())
    with (
        direct_runs(),
        only_writer(ctx.engine, train.LOCK) as token,
        pytest.raises(LockLost, match="run it again"),
    ):
        train._train(ctx, token, "snapshot-0001", *recipe, key="k", commit="c")
    assert epochs == [1]


def test_the_weights_of_a_training_and_their_licence_are_printed_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the configuration that W&B gets, and in the model card."""
    import_images(tmp_path / "first", cat=3, dog=3)
    assert cut() == "snapshot-0001"
    monkeypatch.setattr("models.training.tracking._open_mirror", lambda *_: None)
    network = NetworkConfig("squeezenet1_1")
    file = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save(build(network, classes=2, image_size=16).backbone.state_dict(), file)
    network = replace(network, weights=str(file))
    config = TrainConfig(epochs=1, min_steps=0)
    ctx = open_context()
    with direct_runs(), only_writer(ctx.engine, train.LOCK) as token:
        version = train._train(ctx, token, "snapshot-0001", network, config, key="k", commit="c")
    sentence = (
        f"squeezenet1_1, pretrained, file {file.name} (no licence stated: torchvision's code is "
        "BSD-3-Clause, the images are ImageNet's)"
    )
    assert f"its training began with {sentence}\n" in capsys.readouterr().out
    assert find_model(ctx.engine, version).config["pretrained"] == sentence
    [stored] = ctx.workspace.runs.glob("*/config.json")
    assert json.loads(stored.read_bytes())["pretrained"] == sentence


def test_the_code_of_a_model_is_known_in_the_image_which_has_neither_git_nor_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_package(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(train, "installed", no_package)
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", train.code_commit("of another build"))
    project = tmp_path / "pyproject.toml"
    project.write_text((train.CODE / "pyproject.toml").read_text(encoding="utf-8"))
    monkeypatch.setattr(train, "CODE", tmp_path)
    monkeypatch.setenv("HONE_COMMIT", "0123abc")
    assert train.code_commit(Settings().commit) == "0123abc"
    monkeypatch.setenv("HONE_COMMIT", "")  # an image that was built without the argument
    version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    assert train.code_commit(Settings().commit) == version
    project.unlink()  # a wheel
    monkeypatch.setattr(train, "installed", lambda name: f"{name} 1.0")
    assert train.code_commit() == "hone 1.0"


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({}, None),
        ({"WANDB_API_KEY": "a-key"}, "a-key"),
        ({"WANDB_API_KEY": "a-key", "WANDB_MODE": "online"}, "a-key"),
        ({"WANDB_API_KEY": "a-key", "WANDB_MODE": "offline"}, None),
        ({"WANDB_API_KEY": "a-key", "WANDB_MODE": "disabled"}, None),
        ({"WANDB_MODE": "online"}, None),
    ],
)
def test_runs_are_sent_with_a_key_unless_the_mode_says_otherwise(
    variables: dict[str, str], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().wandb_key == key
