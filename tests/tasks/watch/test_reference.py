"""The reference: held-out rows with labels and statistics, and traffic that is known since."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.database import writing
from core.image_statistics import STATISTICS
from models.judging.corruptions import CORRUPTIONS
from models.network.network import Network
from models.registry.challengers import set_front
from models.registry.model_store import save_model
from models.watching.decisions import Evaluation, accept_decision, record_evaluation
from models.watching.signals import Action, Window
from settings import Settings
from tasks.context import Context
from tasks.predictions import load_version
from tasks.watch import reference
from tasks.watch.cascade import division_of
from tasks.watch.reference import image_statistics, joined, load_reference
from tests.models.saved_models import make_card, make_network, make_workspace, put_in_service, save
from tests.models.saved_models import reference as held_out
from tests.tasks.label.test_score_pool import put_pictures
from tests.tasks.test_predictions import PNGS, serve


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    workspace, engine = make_workspace(tmp_path / "workspace")
    return Context(Settings(), workspace, engine)


def test_held_out_rows_have_labels_groups_and_statistics_computed_once(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_pictures(ctx.workspace.shards).head(4)
    table = table.assign(label=["dog", "cat", "eel", "dog"], round_id=None, group_id="g1")
    network = make_network()
    version = save_model(
        ctx.engine, ctx.workspace.bento_home, network, make_card(), held_out(network),
        table["sample_id"].tolist(),
    )  # fmt: skip
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)
    loaded = load_version(ctx, version)
    made = load_reference(ctx, loaded)
    assert made.missing == () and made.known == ()
    assert made.window.labels is not None
    assert made.window.labels.tolist() == [1, 0, 2, 1]
    assert len(set(made.window.groups.tolist())) == 1
    assert np.isfinite(made.window.statistics[:, STATISTICS.index("brightness")]).all()
    assert made.copies is not None
    assert made.copies.rows.tolist() == [0, 1, 2, 3]
    assert set(made.copies.outputs) == set(CORRUPTIONS)
    assert {len(one) for one in made.copies.embeddings.values()} == {4}
    monkeypatch.setattr(Network, "embed", lambda *_: pytest.fail("predicted again"))
    monkeypatch.setattr(reference, "image_statistics", lambda *_: pytest.fail("computed again"))
    again = load_reference(ctx, loaded)
    np.testing.assert_array_equal(again.window.statistics, made.window.statistics)


def test_corrupted_copies_are_learnt_from_again_once_a_cascade_has_ended(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_pictures(ctx.workspace.shards).head(4)
    table = table.assign(label="dog", round_id=None, group_id=None)
    network, ids = make_network(), table["sample_id"].tolist()
    champion, front = (
        save_model(
            ctx.engine, ctx.workspace.bento_home, one, make_card(seed=seed), held_out(one), ids
        )
        for seed, one in ((0, network), (1, make_network(1)))
    )
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)
    put_in_service(ctx.engine, champion)
    loaded = load_version(ctx, champion)
    for expected, chosen, threshold in ((2, front, 0.9), (3, None, None)):
        set_front(ctx.engine, front=chosen, threshold=threshold, who="ann", why="a test",
                  expected=expected - 1)  # fmt: skip
        with ctx.engine.connect() as connection:
            division = division_of(connection)
        assert division.since is not None
        copies = load_reference(ctx, loaded, division).copies
        assert (copies is not None) is (chosen is None)


def test_images_that_are_away_are_measured_once_they_are_back(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = put_pictures(ctx.workspace.shards).head(4)
    table = table.assign(label="dog", round_id=None, group_id=None)
    network = make_network()
    version = save_model(
        ctx.engine, ctx.workspace.bento_home, network, make_card(), held_out(network),
        table["sample_id"].tolist(),
    )  # fmt: skip
    monkeypatch.setattr(reference, "load_snapshot", lambda *_: table)
    loaded = load_version(ctx, version)
    away = ctx.workspace.shards.with_name("away")
    ctx.workspace.shards.rename(away)
    without = load_reference(ctx, loaded)
    assert np.isnan(without.window.statistics).all()
    assert without.copies is None
    assert any("cannot be read" in one for one in without.missing)
    away.rename(ctx.workspace.shards)
    again = load_reference(ctx, loaded).window.statistics
    assert np.isfinite(again[:, STATISTICS.index("brightness")]).all()


def test_a_snapshot_that_is_gone_is_said_and_the_rest_is_used(ctx: Context) -> None:
    made = load_reference(ctx, load_version(ctx, save(ctx.workspace, ctx.engine)))
    [missing] = made.missing
    assert missing.startswith("the labels of snapshot-0001 cannot be read")
    assert len(made.window) == 4 and made.window.labels is not None
    assert set(made.window.labels.tolist()) == {-1}


def test_known_traffic_of_an_earlier_model_is_predicted_by_the_champion_once(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = save(ctx.workspace, ctx.engine)
    serve(ctx, earlier)
    with writing(ctx.engine) as connection:
        decision = record_evaluation(
            connection, Evaluation(earlier, 1, len(PNGS), Action.LABEL_SERVED, "label", "drift")
        )
        accept_decision(connection, decision, who="ann", why="a new camera")
    loaded = load_version(ctx, save(ctx.workspace, ctx.engine, seed=1))
    made = load_reference(ctx, loaded)
    assert made.known == (decision,)
    assert made.window.known is not None
    assert made.window.known.tolist() == [False] * 4 + [True] * len(PNGS)
    assert len(set(made.window.groups.tolist())) == 4 + len(PNGS)
    monkeypatch.setattr(Network, "embed", lambda *_: pytest.fail("predicted again"))
    again = load_reference(ctx, loaded)
    np.testing.assert_array_equal(again.window.embeddings, made.window.embeddings)


def test_known_traffic_that_is_gone_is_said(ctx: Context) -> None:
    earlier = save(ctx.workspace, ctx.engine)
    serve(ctx, earlier)
    with writing(ctx.engine) as connection:
        decision = record_evaluation(
            connection, Evaluation(earlier, 1, len(PNGS), Action.LABEL_SERVED, "label", "drift")
        )
        accept_decision(connection, decision, who="ann", why="a new camera")
    for path in ctx.workspace.traffic.glob("*.seg"):
        path.unlink()
    made = load_reference(ctx, load_version(ctx, save(ctx.workspace, ctx.engine, seed=1)))
    assert any(one.startswith(f"the traffic of {decision} cannot be read") for one in made.missing)
    assert len(made.window) == 4


def test_an_erased_image_is_left_out_of_known_traffic_and_counted(ctx: Context) -> None:
    earlier = save(ctx.workspace, ctx.engine)
    rows = serve(ctx, earlier)
    with writing(ctx.engine) as connection:
        decision = record_evaluation(
            connection, Evaluation(earlier, 1, len(PNGS), Action.LABEL_SERVED, "label", "drift")
        )
        accept_decision(connection, decision, who="ann", why="a new camera")
    erased = rows.iloc[2]
    with (ctx.workspace.traffic / erased.segment).open("r+b") as file:
        file.seek(erased.offset)
        file.write(bytes(erased.length))
    loaded = load_version(ctx, save(ctx.workspace, ctx.engine, seed=1))
    for _ in range(2):  # computed, and from what was stored
        made = load_reference(ctx, loaded)
        assert f"1 image of the traffic of {decision} is gone and left out" in made.missing
        assert made.window.known is not None
        assert made.window.known.sum() == len(PNGS) - 1
        assert made.window.broken == 0


def test_statistics_of_a_stored_image_know_its_container() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 200, np.uint8)).save(file, "PNG")
    made = pd.Series(image_statistics(file.getvalue(), 16), STATISTICS)
    assert made["brightness"] == pytest.approx(200, abs=1)
    assert made["width"] == pytest.approx(np.log2(40)) and made["height"] == np.log2(30).astype(
        "f4"
    )


def test_groups_of_parts_stay_apart() -> None:
    part = Window.of(np.full((2, 2), 0.5), np.ones((2, 3)), groups=np.array([7, 7]))
    both = joined(part, [part])
    assert both.groups.tolist() == [0, 0, 1, 1]
