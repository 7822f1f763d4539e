"""Corrupted rows are predicted once by a model, in any order, and stored as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from models.judging import corruptions
from models.judging.corruptions import CORRUPTIONS, corrupted
from models.network.images import open_images
from models.network.network import Network
from models.runtimes.runtime import Torch
from models.scoring.predict import Predictions, predict
from settings import Settings
from tasks.context import Context
from tasks.predictions import load_version, predict_with
from tasks.retrain.evidence import corrupted_outputs, speeds
from tests.models.saved_models import SIZE, make_workspace, save
from tests.tasks.label.test_score_pool import put_pictures


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    workspace, engine = make_workspace(tmp_path / "workspace")
    return Context(Settings(), workspace, engine)


@pytest.fixture
def table(ctx: Context) -> pd.DataFrame:
    return put_pictures(ctx.workspace.shards)


def test_the_outputs_are_those_of_the_corrupted_images_in_the_order_asked_for(
    ctx: Context, table: pd.DataFrame
) -> None:
    loaded = load_version(ctx, save(ctx.workspace, ctx.engine))
    outputs = corrupted_outputs(ctx, loaded, table)
    images = open_images(table, ctx.workspace.shards, SIZE).take(np.arange(len(table)))
    pictures = images.permute(0, 2, 3, 1).numpy()
    made = corrupted(pictures, "noise", table["sample_id"].tolist())
    expected = predict(loaded.network, torch.from_numpy(made).permute(0, 3, 1, 2)).outputs
    np.testing.assert_allclose(outputs["noise"], expected, atol=1e-6)
    mixed = table.sample(frac=1, random_state=0)
    again = corrupted_outputs(ctx, loaded, mixed)
    assert set(outputs) == set(again) == set(CORRUPTIONS)
    assert all((again[one] == outputs[one][mixed.index]).all() for one in CORRUPTIONS)


def test_a_row_is_predicted_once_by_a_model_and_no_more_rows_than_the_limit(
    ctx: Context, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_version(ctx, save(ctx.workspace, ctx.engine))
    batches: list[int] = []
    real = Network.embed

    def counted(network: Network, images: torch.Tensor) -> torch.Tensor:
        batches.append(len(images))
        return real(network, images)

    monkeypatch.setattr(Network, "embed", counted)
    monkeypatch.setattr(corruptions, "MOST_ROWS", 5)
    assert len(corrupted_outputs(ctx, loaded, table)["blur"]) == 5
    assert sum(batches) == 5 * len(CORRUPTIONS)
    batches.clear()
    corrupted_outputs(ctx, loaded, table)
    assert sum(batches) == 0
    corrupted_outputs(ctx, loaded, table.iloc[4:7])
    assert sum(batches) == 2 * len(CORRUPTIONS)


def test_stored_outputs_of_corrupted_images_are_no_outputs_of_the_images(
    ctx: Context, table: pd.DataFrame
) -> None:
    version = save(ctx.workspace, ctx.engine)
    before = predict_with(ctx, version, table)[1].outputs
    outputs = corrupted_outputs(ctx, load_version(ctx, version), table)
    assert (predict_with(ctx, version, table)[1].outputs == before).all()
    assert (outputs["brightness"] != before).any()


class _Slow(Torch):
    """A runtime that computes each image twenty times."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, threads=1)
        self.name = "slow"

    def predict(self, images: torch.Tensor) -> Predictions:
        for _ in range(19):
            super().predict(images)
        return super().predict(images)


def test_a_model_has_a_size_and_the_speed_of_the_runtime_that_serves_it(ctx: Context) -> None:
    eager = load_version(ctx, save(ctx.workspace, ctx.engine))
    slow = replace(eager, runtime=_Slow(eager.network))
    measured = speeds(ctx, {"eager": eager, "slow": slow})
    assert measured["eager"].size_mb == measured["slow"].size_mb > 1
    assert (measured["eager"].runtime, measured["slow"].runtime) == ("torch", "slow")
    assert measured["slow"].p50_ms > 5 * measured["eager"].p50_ms > 0
