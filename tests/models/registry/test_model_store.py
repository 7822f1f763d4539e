"""The model store: a model is whole and the one that was saved, or it is not loaded."""

import hashlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sqlalchemy import Engine, select

from core.database import connect
from core.intents import open_intents
from core.workspace import Workspace, load_workspace
from models.network.network import NetworkConfig, build
from models.network.weights import LITE0
from models.registry import model_store
from models.registry.checks import models_hold_data_only
from models.registry.model_store import (
    INTENT,
    entry,
    finish_saves,
    load_model,
    read_model,
    save_model,
    unrecorded_entries,
)
from models.registry.versions import find_model, models
from models.scoring.predict import predict
from tests.models.saved_models import SIZE, make_card, make_network, make_workspace, reference, save


@pytest.fixture
def place(tmp_path: Path) -> tuple[Workspace, Engine]:
    return make_workspace(tmp_path / "workspace")


def versions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(models.c.version).order_by(models.c.version)))


def test_a_loaded_model_predicts_the_same_bits(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    network, images = make_network(), torch.full((2, 3, SIZE, SIZE), 9, dtype=torch.uint8)
    said = reference(network)
    version = save_model(engine, workspace.bento_home, network, make_card(), said)
    loaded = load_model(engine, workspace.bento_home, version)
    before, after = predict(network, images), predict(loaded.network, images)
    assert np.array_equal(before.outputs, after.outputs)
    assert np.array_equal(loaded.reference.outputs, said.outputs)
    assert np.array_equal(loaded.reference.embeddings, said.embeddings)
    assert (loaded.version, loaded.card.snapshot) == (version, "snapshot-0001")


def test_a_network_whose_layers_have_a_version_is_loaded(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    network = build(NetworkConfig("mnasnet0_5"), classes=3, image_size=SIZE).eval()
    card = make_card(network={"backbone": "mnasnet0_5"})
    version = save_model(engine, workspace.bento_home, network, card, reference(network))
    loaded = load_model(engine, workspace.bento_home, version).network
    images = torch.full((1, 3, SIZE, SIZE), 99, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))


def test_a_model_from_before_there_was_a_temperature_has_the_temperature_one(
    place: tuple[Workspace, Engine],
) -> None:
    workspace, engine = place
    folder = entry(workspace.bento_home, save(workspace, engine))
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    assert weights.pop("temperature") == 1.5
    content = safetensors.torch.save(weights)
    (folder / "weights.safetensors").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert read_model(folder, "hone:0001-a", digest).network.temperature == 1


def test_base_weights_named_in_the_card_are_not_needed_again(
    place: tuple[Workspace, Engine],
) -> None:
    """They were another machine's file; the model's own weights replace them all."""
    workspace, engine = place
    network = make_network()
    card = make_card(network={"backbone": "squeezenet1_1", "weights": "/gone/base.safetensors",
                              "small_stem": None})  # fmt: skip
    version = save_model(engine, workspace.bento_home, network, card, reference(network))
    assert load_model(engine, workspace.bento_home, version).card.network["weights"]


def test_a_model_of_lite0_is_loaded_where_its_package_is_not_installed(
    place: tuple[Workspace, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a bento, which installs nothing that trains."""
    monkeypatch.setattr("models.network.weights.MODULE", "no_such_module_of_weights")
    workspace, engine = place
    network = build(NetworkConfig(LITE0), classes=3, image_size=SIZE).eval()
    card = make_card(network={"backbone": LITE0, "weights": "default", "small_stem": None})
    version = save_model(engine, workspace.bento_home, network, card, reference(network))
    loaded = load_model(engine, workspace.bento_home, version).network
    images = torch.full((1, 3, SIZE, SIZE), 99, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))


def test_saving_the_same_model_twice_is_one_version(place: tuple[Workspace, Engine]) -> None:
    assert save(*place) == save(*place)
    assert len(versions(place[1])) == 1


def test_another_model_is_the_next_version(place: tuple[Workspace, Engine]) -> None:
    names = [save(*place, seed) for seed in range(3)]
    assert [name.split("-")[0] for name in names] == ["hone:0001", "hone:0002", "hone:0003"]


def test_bentoml_knows_the_model_and_where_it_came_from(place: tuple[Workspace, Engine]) -> None:
    from bentoml._internal.models import ModelStore

    workspace, engine = place
    version = save(workspace, engine)
    [stored] = ModelStore(workspace.bento_home / "models").list("hone")
    assert str(stored.tag) == version
    assert stored.info.labels == {"snapshot": "snapshot-0001", "strategy": "margin"}
    assert stored.info.metadata["code_commit"] == "0123abc"
    assert stored.info.metadata["manifest_sha256"] == find_model(engine, version).weights_sha256


def test_two_homes_in_one_process_are_kept_apart(tmp_path: Path) -> None:
    """BentoML reads BENTOML_HOME once; whoever imported it first must not decide for us."""
    import bentoml

    elsewhere = {str(model.tag) for model in bentoml.models.list()}
    first, second = (make_workspace(tmp_path / name) for name in ("first", "second"))
    one, two = save(*first, seed=1), save(*second, seed=2)
    assert {str(model.tag) for model in bentoml.models.list()} == elsewhere
    for (workspace, engine), mine, other in ((first, one, two), (second, two, one)):
        assert load_model(engine, workspace.bento_home, mine).version == mine
        assert not entry(workspace.bento_home, other).exists()


@pytest.mark.parametrize("name", [*model_store.FILES, "manifest.json"])
def test_a_flipped_byte_is_refused_by_name(place: tuple[Workspace, Engine], name: str) -> None:
    workspace, engine = place
    version = save(workspace, engine)
    path = entry(workspace.bento_home, version) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{version} is damaged.*{name}.*release another version"):
        load_model(engine, workspace.bento_home, version)


def test_a_missing_file_is_refused_by_name(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    version = save(workspace, engine)
    (entry(workspace.bento_home, version) / "card.json").unlink()
    with pytest.raises(ValueError, match=r"is damaged.*card\.json"):
        load_model(engine, workspace.bento_home, version)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = io.BytesIO()
    np.savez(file, probs=np.array([Canary()], dtype=object), embeddings=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        model_store._unpack(file.getvalue())
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_finite_are_not_saved(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    network: Any = make_network()
    said = reference(network)
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"head\.weight are not finite: nothing was saved"):
        save_model(engine, workspace.bento_home, network, make_card(), said)
    assert versions(engine) == []


@pytest.mark.parametrize("version", ["hone:../../etc", "other:0001-a", "hone", "hone:"])
def test_a_version_that_is_a_path_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match="is not a model version"):
        entry(tmp_path, version)


STEPS = ("write_atomically", "begin_intent", "commit_intent", "sync_path")


def die_at(step: int, workspace: Workspace) -> bool:
    """Save in a child that is killed before the `step`-th act; whether it was killed."""
    child = os.fork()
    if child == 0:
        left = [step]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def act(*words: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*words, **more)

            return act

        for name in STEPS:
            setattr(model_store, name, counted(getattr(model_store, name)))
        shutil.copytree = counted(shutil.copytree)
        os.fsync = counted(os.fsync)  # a file that is written and has no name yet
        try:
            save(workspace, connect(workspace.database))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_anywhere_leaves_no_half_model(tmp_path: Path) -> None:
    """Before each act in turn: then no row is without a sound entry, and the next save mends it."""
    mended: set[str] = set()
    make_workspace(tmp_path / "new")[1].dispose()
    for step in range(1, 60):
        shutil.copytree(tmp_path / "new", tmp_path / str(step))
        workspace = load_workspace(tmp_path / str(step))
        engine = connect(workspace.database)
        killed = die_at(step, workspace)
        for version in versions(engine):
            load_model(engine, workspace.bento_home, version)
        assert list(models_hold_data_only(engine, workspace)) == []
        engine.dispose()
        done = finish_saves(engine, workspace.bento_home)
        mended.update(words.partition(": ")[2] for words in done)
        version = save(workspace, engine)
        load_model(engine, workspace.bento_home, version)
        assert versions(engine) == [version]
        assert unrecorded_entries(engine, workspace.bento_home) == []
        assert list(models_hold_data_only(engine, workspace)) == []
        with engine.connect() as connection:
            assert open_intents(connection, INTENT) == {}
        engine.dispose()
        if not killed:
            break
    assert not killed
    assert mended == {"incomplete, removed", "completed"}


def test_an_entry_nobody_vouches_for_is_named(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    version = save(workspace, engine)
    folder = entry(workspace.bento_home, version)
    shutil.copytree(folder, folder.with_name("9999-stray"))
    assert unrecorded_entries(engine, workspace.bento_home) == ["hone:9999-stray"]


def test_a_card_that_differs_is_another_version(place: tuple[Workspace, Engine]) -> None:
    workspace, engine = place
    network = make_network()
    said, card = reference(network), make_card()
    first = save_model(engine, workspace.bento_home, network, card, said)
    second = save_model(engine, workspace.bento_home, network, replace(card, seed=1), said)
    assert first != second
