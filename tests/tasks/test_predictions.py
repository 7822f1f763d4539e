"""A prediction is made once: served and stored ones are used where they are, however they came."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.network.images import open_images
from models.network.network import Network
from models.registry.model_store import load_model, save_model
from models.scoring import score_pool
from models.scoring.predict import predict_table
from models.serving.batcher import Inference
from models.serving.prediction_store import as_recorded, drain, window
from models.serving.release_follower import ActiveModel
from models.serving.segments import SegmentWriter
from settings import Settings
from tasks.context import Context
from tasks.predictions import (
    EXACT,
    cache_served,
    load_version,
    predict_with,
    served_predictions,
)
from tests.models.saved_models import (
    make_card,
    make_network,
    make_workspace,
    png,
    reference,
    save,
)
from tests.tasks.label.test_score_pool import put_pictures

PNGS = [png(seed) for seed in range(5)]


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    workspace, engine = make_workspace(tmp_path / "workspace")
    return Context(Settings(), workspace, engine)


@pytest.fixture
def networks_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through a network, batch by batch."""
    batches: list[int] = []
    real = Network.embed

    def counted(network: Network, images):
        batches.append(len(images))
        return real(network, images)

    monkeypatch.setattr(Network, "embed", counted)
    return batches


def serve(ctx: Context, version: str) -> pd.DataFrame:
    """What the service recorded of a few images."""
    loaded = load_version(ctx, version)
    writer = SegmentWriter(ctx.workspace.traffic)
    inference = Inference(lambda: ActiveModel(loaded), writer, needs_review_below=0.5, threads=1)
    inference.ask("request", PNGS).result(timeout=60)
    inference.close()
    writer.close()
    drain(ctx.engine, ctx.workspace.traffic)
    return window(ctx.engine)


def test_a_served_image_is_not_predicted_again(ctx: Context, networks_run: list[int]) -> None:
    version = save(ctx.workspace, ctx.engine)
    rows = serve(ctx, version)
    loaded = load_version(ctx, version)
    networks_run.clear()
    found = served_predictions(ctx, loaded, rows)
    assert networks_run == []
    old = rows.assign(embedding=rows["embedding"].where(np.arange(len(rows)) > 0, None))
    again = served_predictions(ctx, loaded, old)
    assert networks_run == [1]
    np.testing.assert_allclose(again.outputs, found.outputs, atol=2e-6)
    np.testing.assert_allclose(again.embeddings, found.embeddings, rtol=2e-3, atol=1e-4)
    exact = as_recorded(replace(found))
    assert (exact.embeddings == found.embeddings).all()


def test_the_pool_scores_of_served_images_are_those_recorded(
    ctx: Context, networks_run: list[int]
) -> None:
    version = save(ctx.workspace, ctx.engine)
    rows = serve(ctx, version)
    loaded = load_version(ctx, version)
    networks_run.clear()
    table = pd.DataFrame({"sample_id": [*rows["sample_id"], "0" * 64]})
    with score_pool.cache_for(loaded.network, ctx.workspace.scores / "model") as cache:
        assert cache_served(ctx, loaded, cache, table) == len(PNGS)
        assert cache_served(ctx, loaded, cache, table) == 0
        assert cache.missing(table["sample_id"].tolist()).tolist() == [len(PNGS)]
    assert networks_run == []


def test_rows_stored_with_the_model_are_not_predicted_again(
    ctx: Context, networks_run: list[int]
) -> None:
    table, network = put_pictures(ctx.workspace.shards), make_network()
    expected = predict_table(network, table, ctx.workspace.shards, 16)
    kept = table.iloc[[4, 1, 7]]
    stored = replace(
        expected,
        outputs=expected.outputs[[4, 1, 7]],
        embeddings=expected.embeddings[[4, 1, 7]],
    )
    version = save_model(
        ctx.engine,
        ctx.workspace.bento_home,
        network,
        make_card(),
        stored,
        kept["sample_id"].tolist(),
    )
    networks_run.clear()
    loaded, found = predict_with(ctx, version, table)
    assert sum(networks_run) == len(table) - 3
    assert loaded.reference_ids == tuple(kept["sample_id"])
    np.testing.assert_allclose(found.outputs, expected.outputs, atol=1e-5)
    networks_run.clear()
    _, again = predict_with(ctx, version, kept)
    assert networks_run == [] and (again.outputs == stored.outputs).all()


def test_a_champion_is_judged_again_without_its_network(
    ctx: Context, networks_run: list[int]
) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    networks_run.clear()
    _, first = predict_with(ctx, version, table.iloc[:8])
    assert sum(networks_run) == 8
    networks_run.clear()
    _, again = predict_with(ctx, version, table.iloc[7::-1])
    assert networks_run == []
    assert (again.outputs == first.outputs[::-1]).all()
    assert (again.embeddings == first.embeddings[::-1]).all()
    predict_with(ctx, version, table)
    assert sum(networks_run) == len(table) - 8


def test_while_another_process_has_the_cache_open_the_network_runs(
    ctx: Context, networks_run: list[int]
) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    _, expected = predict_with(ctx, version, table)
    networks_run.clear()
    folder = ctx.workspace.scores / f"{version.replace(':', '-')}{EXACT}"
    with score_pool.cache_for(load_version(ctx, version).network, folder):
        _, outputs = predict_with(ctx, version, table)
    assert sum(networks_run) == len(table)
    np.testing.assert_allclose(outputs.outputs, expected.outputs, atol=1e-6)


def test_a_model_of_an_older_version_predicts_all_rows(ctx: Context) -> None:
    table, network = put_pictures(ctx.workspace.shards), make_network()
    version = save_model(
        ctx.engine, ctx.workspace.bento_home, network, make_card(), reference(network)
    )
    assert load_model(ctx.engine, ctx.workspace.bento_home, version).reference_ids == ()
    _, found = predict_with(ctx, version, table)
    assert len(found) == len(table) == len(open_images(table, ctx.workspace.shards, 16))
