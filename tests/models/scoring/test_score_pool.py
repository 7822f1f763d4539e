"""A sample is scored once by a model, whatever is asked, in what order, and who was killed."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch

from models.network.network import NetworkConfig, build
from models.scoring import score_pool
from models.scoring.predict import predict_table
from models.scoring.score_pool import cache_for, feature_cache, feature_digest, score_table
from tests.models.pictures import CLASSES, SIZE, snapshot


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(NetworkConfig("squeezenet1_1"), classes=len(CLASSES), image_size=SIZE)


@pytest.fixture
def table(tmp_path):
    rows = snapshot(tmp_path, train=23)
    return rows.assign(sample_id=rows["stored_sha256"])


def scored(network, table, folder, cache, **more):
    return score_table(network, table, folder, SIZE, cache, precision="fp32", **more)


def test_every_row_gets_what_the_model_says_of_it_in_the_order_of_the_table(
    network, table, tmp_path
):
    mixed = table.sample(frac=1, random_state=0)
    plain = predict_table(network, mixed, tmp_path, SIZE)
    with cache_for(network, tmp_path / "scores") as cache:
        found = scored(network, mixed, tmp_path, cache)
    assert found.new == 23
    np.testing.assert_allclose(found.outputs, plain.outputs, atol=1e-6)
    np.testing.assert_allclose(found.embeddings, plain.embeddings, rtol=1e-4, atol=1e-5)


def test_what_comes_back_is_mapped_and_outlives_the_cache(network, table, tmp_path):
    with cache_for(network, tmp_path / "scores") as cache:
        for rows in (table, table.iloc[::-1], table.iloc[5:9]):
            found = scored(network, rows, tmp_path, cache)
            assert len(found.outputs) == len(found.embeddings) == len(rows)
            assert isinstance(found.embeddings, np.memmap) and not found.outputs.flags.writeable
        assert scored(network, table.iloc[:0], tmp_path, cache).outputs.shape == (0, len(CLASSES))
    assert np.isfinite(found.embeddings).all()


def test_only_what_is_new_to_the_model_is_scored(network, table, tmp_path):
    told = []
    folder = tmp_path / "scores"
    with cache_for(network, folder) as cache:
        first = scored(network, table.iloc[:9], tmp_path, cache)
    with cache_for(network, folder) as cache:
        both = scored(network, table, tmp_path, cache, on_progress=lambda *now: told.append(now))
        again = scored(network, table.iloc[[3, 3, 20]], tmp_path, cache)
    assert (first.new, both.new, again.new) == (9, 14, 0)
    assert told == [(23, 23)]
    np.testing.assert_array_equal(first.outputs, both.outputs[:9])
    np.testing.assert_array_equal(again.outputs, both.outputs[[3, 3, 20]])


def test_scores_from_before_there_was_a_temperature_stay_and_those_of_another_do_not(
    network, table, tmp_path, capsys
):
    with cache_for(network, tmp_path / "scores") as cache:
        scored(network, table, tmp_path, cache)
    shape = json.loads((tmp_path / "scores" / "shape.json").read_bytes())
    digest = hashlib.sha256()
    for name, part in network.state_dict().items():
        if name != "temperature":
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.numpy().tobytes())
    assert shape["model"] == digest.hexdigest()
    softer = copy.deepcopy(network)
    softer.temperature.fill_(2)
    with cache_for(softer, tmp_path / "scores") as cache:
        assert scored(softer, table, tmp_path, cache).new == 23
    assert "begun anew" in capsys.readouterr().out


def test_another_network_of_the_same_shape_is_not_taken_for_the_first(
    network, table, tmp_path, capsys
):
    with cache_for(network, tmp_path / "scores") as cache:
        scored(network, table, tmp_path, cache)
    other = build(NetworkConfig("squeezenet1_1"), classes=len(CLASSES), image_size=SIZE)
    with cache_for(other, tmp_path / "scores") as cache:
        assert scored(other, table, tmp_path, cache).new == 23
    assert "begun anew" in capsys.readouterr().out


def test_what_was_kept_before_the_end_is_not_scored_again(network, table, tmp_path, monkeypatch):
    monkeypatch.setattr(score_pool, "BLOCK", 1)  # a batch is a block
    monkeypatch.setattr("models.scoring.predict.BATCH", 4)

    def killed(done, _):
        if done == 8:
            raise KeyboardInterrupt

    with cache_for(network, tmp_path / "scores") as cache, pytest.raises(KeyboardInterrupt):
        scored(network, table, tmp_path, cache, on_progress=killed)
    with cache_for(network, tmp_path / "scores") as cache:
        assert len(cache) == 8
        found = scored(network, table, tmp_path, cache)
    assert found.new == 15
    plain = predict_table(network, table, tmp_path, SIZE)
    np.testing.assert_allclose(found.outputs, plain.outputs, atol=1e-6)


def test_a_damaged_image_is_named_and_the_blocks_before_it_are_kept(
    network, table, tmp_path, monkeypatch
):
    monkeypatch.setattr(score_pool, "BLOCK", 1)
    monkeypatch.setattr("models.scoring.predict.BATCH", 4)
    wrong = table.assign(stored_sha256=[*table["stored_sha256"][:-1], "0" * 64])
    with cache_for(network, tmp_path / "scores") as cache:
        with pytest.raises(ValueError, match=r"was written"):
            scored(network, wrong, tmp_path, cache)
        assert len(cache) == 20


@pytest.mark.parametrize("threads", [1, 3])
def test_a_large_pool_in_any_order_is_put_in_order_piece_by_piece(
    network, table, tmp_path, monkeypatch, threads
):
    monkeypatch.setattr(score_pool, "_MOVED", 1)
    monkeypatch.setattr("models.scoring.predict.BATCH", 2)
    mixed = table.sample(frac=1, random_state=1)
    with cache_for(network, tmp_path / "scores") as cache:
        found = scored(network, mixed, tmp_path, cache, threads=threads)
        rows = cache.rows_of(mixed["sample_id"].tolist())
        np.testing.assert_array_equal(found.embeddings, cache.embeddings[rows])


def with_other_head(network):
    other = copy.deepcopy(network)
    with torch.no_grad():
        for part in other.head.parameters():
            part.copy_(torch.randn_like(part))
    other.temperature.fill_(2)
    return other


def test_networks_that_share_a_backbone_share_its_features_and_keep_their_own_outputs(
    network, table, tmp_path
):
    with feature_cache(network, tmp_path / "features", SIZE) as cache:
        first = scored(network, table.iloc[:9], tmp_path, cache)
    other = with_other_head(network)
    with feature_cache(other, tmp_path / "features", SIZE) as cache:
        second = scored(other, table, tmp_path, cache)
    assert (first.new, second.new) == (9, 14)
    assert not first.outputs.flags.writeable
    for outputs, whose in ((first.outputs, network), (second.outputs[:9], other)):
        plain = predict_table(whose, table.iloc[:9], tmp_path, SIZE)
        np.testing.assert_allclose(outputs, plain.outputs, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(first.embeddings, second.embeddings[:9])
    assert np.abs(first.outputs - second.outputs[:9]).max() > 0.01


def test_features_of_another_backbone_or_image_size_lie_in_another_folder(
    network, table, tmp_path, capsys
):
    other = build(NetworkConfig("squeezenet1_1"), classes=len(CLASSES), image_size=SIZE)
    places = {feature_digest(one, size) for one in (network, other) for size in (SIZE, 2 * SIZE)}
    assert len(places) == 4
    for one in (network, other, network):
        with feature_cache(one, tmp_path / "features", SIZE) as cache:
            rows = scored(one, table, tmp_path, cache)
    assert rows.new == 0 and "begun anew" not in capsys.readouterr().out


def test_a_head_that_is_damaged_is_an_error_though_its_features_are_sound(network, table, tmp_path):
    with feature_cache(network, tmp_path / "features", SIZE) as cache:
        scored(network, table, tmp_path, cache)
        broken = with_other_head(network)
        with torch.no_grad():
            next(broken.head.parameters()).fill_(float("nan"))
        with pytest.raises(ValueError, match="hone:1 gave outputs that are not finite"):
            scored(broken, table, tmp_path, cache, name="hone:1")
