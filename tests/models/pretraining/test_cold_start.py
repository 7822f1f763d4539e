"""Embeddings before any model: the best that is at hand, named, stored, and never fetched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models as zoo

from models.network.weights import LITE0, Pretrained
from models.pretraining import cold_start as module
from models.pretraining import simclr
from models.pretraining.cold_start import choose_encoder, cold_start_embeddings
from tests.models.pictures import snapshot


@pytest.fixture(autouse=True)
def _nothing_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(module, "lite0_installed", lambda: False)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    shards = tmp_path_factory.mktemp("pool")
    rows = snapshot(shards, train=24, side=20)
    return rows.assign(sample_id=rows["stored_sha256"]), shards


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "torch" / "checkpoints" / "squeezenet1_1-0123abcd.pth"
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(zoo.squeezenet1_1().state_dict(), path)
    return path


def seen(pool, folder, rows=slice(None), **more):
    table, shards = pool
    return cold_start_embeddings(table.iloc[rows], shards, module.SMALLEST, folder=folder, **more)


def assert_sound(found, count):
    assert found.shape[0] == count and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)


def test_a_small_pool_is_told_apart_by_colours_and_textures(pool, tmp_path):
    found, source = seen(pool, tmp_path)
    assert_sound(found, 24)
    assert "colours and textures" in source and "24 images are too few" in source
    near = (found @ found.T - 2 * np.eye(24)).argmax(1)  # the classes take turns, three of them
    assert (near % 3 == np.arange(24) % 3).mean() > 0.6


def test_no_time_means_colours_and_textures_too(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_IMAGES", 10)
    assert "no time" in seen(pool, tmp_path, seconds=0)[1]


def test_a_larger_pool_teaches_a_network_of_its_own(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MIN_IMAGES", 10)
    monkeypatch.setattr(simclr, "EPOCHS", 2)
    monkeypatch.setattr(simclr, "MIN_STEPS", 2)
    found, source = seen(pool, tmp_path, seconds=600)
    assert_sound(found, 24)
    assert "trained without labels" in source and "24 images of the pool, 2 times each" in source
    again, _ = seen(pool, tmp_path / "elsewhere", seconds=600)
    np.testing.assert_array_equal(found, again)


def test_weights_at_hand_are_used_whether_named_or_in_the_cache_of_torch(pool, weights, tmp_path):
    cached, source = seen(pool, tmp_path)
    assert_sound(cached, 24)
    assert source == (
        f"squeezenet1_1, pretrained, file {weights.name} (licence unknown: a file of your own)"
    )
    moved = weights.rename(tmp_path / weights.name)
    assert "colours" in seen(pool, tmp_path)[1]
    named, _ = seen(pool, tmp_path / "other", features=str(moved))
    np.testing.assert_array_equal(cached, named)


def test_the_first_at_hand_is_chosen_and_each_can_be_named(weights, monkeypatch):
    lite0 = Pretrained(LITE0, Path("lite0.pth"), "package", "Apache-2.0")
    monkeypatch.setattr(module, "lite0_weights", lambda: lite0)
    monkeypatch.setattr(module, "lite0_installed", lambda: True)
    assert choose_encoder("auto", 10, 0, 16) == lite0
    assert choose_encoder(LITE0, 10, 0, 16) == lite0
    for named, file in (("torchvision", weights), (str(weights), weights)):
        chosen = choose_encoder(named, 10, 0, 16)
        assert isinstance(chosen, Pretrained) and chosen.file == file
    assert choose_encoder("simclr", module.MIN_IMAGES, 1.0, 16) == "simclr"
    assert choose_encoder("simclr", module.MIN_IMAGES - 1, 1.0, 16) == "texture"
    assert choose_encoder("texture", module.MIN_IMAGES, 1.0, 16) == "texture"
    monkeypatch.setattr(module, "lite0_installed", lambda: False)
    chosen = choose_encoder("auto", 10, 0, 16)
    assert isinstance(chosen, Pretrained) and chosen.file == weights
    assert choose_encoder("auto", 10, 0, 15) == "texture"  # as measured on small digits
    assert choose_encoder("torchvision", 10, 0, 15) == chosen
    weights.unlink()
    assert choose_encoder("auto", module.MIN_IMAGES, 1.0, 16) == "simclr"


def test_colours_and_textures_that_were_chosen_are_not_excused(pool, tmp_path):
    assert seen(pool, tmp_path, features="texture")[1] == "colours and textures, as chosen"


@pytest.mark.parametrize(
    ("features", "cause"),
    [
        ("resnet18-f37072fd.pth", "no such file"),
        ("resnet18", "no such file"),
        ("torchvision", "cache has none"),
    ],
)
def test_features_that_are_not_there_are_an_error_with_what_there_is_to_choose(
    pool, tmp_path, features, cause
):
    with pytest.raises(ValueError, match=rf"{features}.*{cause}.*{LITE0}, torchvision, simclr"):
        seen(pool, tmp_path, features=features)


def test_weights_that_name_no_backbone_are_refused_with_names_that_do(pool, tmp_path):
    (tmp_path / "mine.pth").touch()
    with pytest.raises(ValueError, match=r"mine\.pth.*resnet18-f37072fd"):
        seen(pool, tmp_path, features=str(tmp_path / "mine.pth"))


def test_asked_again_only_new_images_are_looked_at_by_the_same_encoder(pool, tmp_path, monkeypatch):
    before, source = seen(pool, tmp_path, slice(0, 15))
    monkeypatch.setattr(module, "_by_texture", None)  # nothing is made again
    looked = []
    found, same = seen(pool, tmp_path, on_progress=lambda *now: looked.append(now))
    assert looked == [(24, 24)] and same == source
    np.testing.assert_array_equal(before, found[:15])
    looked.clear()
    turned, _ = seen(pool, tmp_path, slice(None, None, -1), on_progress=looked.append)
    assert looked == []
    np.testing.assert_array_equal(turned, found[::-1])


def test_more_new_images_than_old_ones_make_another_encoder(pool, tmp_path, capsys):
    seen(pool, tmp_path, slice(0, 11))
    assert "24 images" in seen(pool, tmp_path)[1]
    assert "begun anew" in capsys.readouterr().out  # the scores of the old one


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_a_damaged_encoder_is_made_anew_and_that_is_said(pool, tmp_path, capsys, name):
    found, _ = seen(pool, tmp_path)
    path = next(tmp_path.glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-9])
    again, _ = seen(pool, tmp_path)
    assert "made anew" in capsys.readouterr().out
    np.testing.assert_array_equal(found, again)


def test_images_that_are_all_the_same_get_rows_without_a_nan(pool, tmp_path):
    table, shards = pool
    same = table.iloc[[0]].reset_index(drop=True)
    found, _ = cold_start_embeddings(same, shards, module.SMALLEST, folder=tmp_path)
    assert found.shape[0] == 1 and np.isfinite(found).all()
