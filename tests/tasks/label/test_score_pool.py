"""What models say is kept as long as somebody needs it, and a cluster says it of the right ones."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from labeling.batches.select import SelectionConfig
from labeling.strategies import STRATEGIES, Strategy
from labeling.strategies.auto import plan
from models.scoring import ray
from models.scoring.cache import open_cache
from models.scoring.predict import predict_table
from settings import Settings
from tasks.context import Context
from tasks.direct_run import direct_runs
from tasks.label import score_pool
from tests.models import pictures
from tests.models.saved_models import make_network, make_workspace, save


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    workspace, engine = make_workspace(tmp_path / "workspace")
    with direct_runs():  # progress is no artifact of a Prefect server, which would be started
        yield Context(Settings(), workspace, engine)


def put_pictures(shards: Path) -> pd.DataFrame:
    """Twelve samples in three shards, in an order that is not that of the shards."""
    parts = [pictures.snapshot(shards, train=4, side=16, seed=seed) for seed in range(3)]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(sample_id=rows["stored_sha256"]).sort_values("sample_id", ignore_index=True)


def test_what_another_model_said_goes_unless_a_process_is_still_writing_it(ctx: Context) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    busy, idle = (ctx.workspace.scores / name for name in ("hone-busy", "hone-idle"))
    few = table["sample_id"].tolist()[:2]
    rows = np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)
    with open_cache(idle, outputs=2, width=3) as cache:
        cache.append(few, *rows)
    with open_cache(busy, outputs=2, width=3) as cache:
        cache.append(few, *rows)
        score_pool.pool_outputs(ctx, version, table)
        cache.append(table["sample_id"].tolist()[2:4], *rows)
    with open_cache(busy, outputs=2, width=3) as cache:
        assert len(cache) == 4
    assert not (idle / "probs").exists()
    score_pool.pool_outputs(ctx, version, table)
    assert not (busy / "probs").exists()


def test_a_cluster_reads_shard_by_shard_and_its_answers_go_to_the_right_samples(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    given: list[pd.DataFrame] = []

    def cluster(network, part, shards, image_size, **_):
        """The workers, without the machines they are on."""
        given.append(part)
        return predict_table(network, part, shards, image_size)

    monkeypatch.setattr(ray, "predict_on_ray", cluster)
    monkeypatch.setattr(score_pool, "ROWS_PER_RAY_CALL", 5)
    many = replace(ctx, settings=Settings(HONE_RAY="local"))
    _, spread_out = score_pool.pool_outputs(many, version, table)
    assert [len(part) for part in given] == [5, 5, 2]
    order = pd.concat(given)[["shard", "offset"]].apply(tuple, axis=1).tolist()
    assert order == sorted(order)
    (cached,) = (ctx.workspace.scores / score_pool.FEATURES).glob("*/shape.json")
    for path in list(cached.parent.iterdir()):
        path.unlink()
    _, alone = score_pool.pool_outputs(ctx, version, table)
    np.testing.assert_allclose(spread_out, alone, rtol=1e-4, atol=1e-5)
    assert len(np.unique(alone.round(4), axis=0)) == len(table)


def test_with_labels_but_no_model_strategies_get_the_predictions_of_a_head(ctx: Context) -> None:
    table = put_pictures(ctx.workspace.shards)
    ours = replace(ctx, settings=Settings(HONE_FEATURES="texture"))
    names = ctx.workspace.class_names
    rng = np.random.default_rng(0)
    for given, known in ((names[:2], True), ([names[0], names[0]], False)):
        labelled = table[6:10].assign(label=pd.Series([*given, None, given[0]], table.index[6:10]))
        made = score_pool.embed_cold_pool(
            ours, table[:6], table[10:], labelled, SelectionConfig()
        ).pool
        decided = str(plan(made, 2, rng))
        if not known:
            assert made.probs is None and "3 labels of one class" in decided
            continue
        assert made.probs is not None and made.probs.shape == (6, len(names))
        np.testing.assert_allclose(made.probs.sum(axis=1), 1, rtol=1e-5)
        assert "(by 3 labels, points of error" in decided


def test_any_strategy_that_needs_an_ensemble_gets_one(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    table = table.assign(label=ctx.workspace.class_names[0])
    own = Strategy(STRATEGIES["bald"].choose, needs=("ensemble",))
    monkeypatch.setitem(STRATEGIES, "own", own)
    parts = table[:6], table[6:8], table[8:]
    for name, has_ensemble in (("own", True), ("margin", False)):
        predictions = score_pool.predict_pool(ctx, *parts, version, SelectionConfig(strategy=name))
        assert (predictions.pool.ensemble is not None) == has_ensemble


def test_a_champion_with_the_same_backbone_scores_nothing_again_and_another_one_clears_up(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    table, first = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    retrained, other = make_network(), make_network(seed=1)
    with torch.no_grad():
        retrained.head.load_state_dict(other.head.state_dict())
    second = save(ctx.workspace, ctx.engine, network=retrained)
    third = save(ctx.workspace, ctx.engine, network=other)
    outputs = []
    for version, scored in ((first, 12), (second, 0), (third, 12)):
        outputs.append(score_pool.pool_outputs(ctx, version, table)[1].copy())
        assert f"{version}: {scored} images scored" in capsys.readouterr().out
        kept = [*(ctx.workspace.scores / score_pool.FEATURES).glob("*/shape.json")]
        assert len(kept) == 1
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01


def test_features_of_published_weights_stay_when_a_champion_has_another_backbone(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, version = put_pictures(ctx.workspace.shards), save(ctx.workspace, ctx.engine)
    file = tmp_path / "squeezenet1_1-0123abcd.pth"
    torch.save(make_network(seed=7).backbone.state_dict(), file)
    ours = replace(ctx, settings=Settings(HONE_FEATURES=str(file)))
    made, source = score_pool.cold_start_embeddings(ours, table, seconds=90)
    assert source.startswith("squeezenet1_1, pretrained, file squeezenet1_1-0123abcd.pth (")
    made = made.copy()
    score_pool.pool_outputs(ours, version, table)
    assert len([*(ctx.workspace.scores / score_pool.FEATURES).glob("*/shape.json")]) == 2
    monkeypatch.setattr("models.scoring.score_pool.predictions", lambda *_, **__: iter(()))
    again = score_pool.features_at_hand(ours, table)
    assert again is not None
    np.testing.assert_array_equal(again, made)


def test_features_serve_more_than_choosing_only_once_they_were_made(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make them may take minutes of training, which a collect does not begin."""
    table = put_pictures(ctx.workspace.shards)
    ours = replace(ctx, settings=Settings(HONE_FEATURES="texture"))
    assert score_pool.features_at_hand(ours, table) is None
    made, _ = score_pool.cold_start_embeddings(ours, table[:5], seconds=90)
    assert score_pool.features_at_hand(ours, table) is None  # outgrown: it would be made anew
    made, _ = score_pool.cold_start_embeddings(ours, table, seconds=90)
    other = replace(ctx, settings=Settings(HONE_FEATURES="simclr"))
    monkeypatch.setattr("models.pretraining.cold_start.MIN_IMAGES", len(table))
    assert score_pool.features_at_hand(other, table) is None  # another kind than what is there
    again = score_pool.features_at_hand(ours, table)
    assert again is not None
    np.testing.assert_array_equal(again, made)
