"""The way back of a served prediction."""

import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import select, update

from core.database import writing
from core.errors import HoneError
from models.registry.versions import models
from models.serving.prediction_store import predictions
from tasks.context import Context, open_context
from tasks.operate.trace import trace
from tasks.operate.trace_view import show_trace
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("HONE_WORKSPACE", str(make_sound_workspace(tmp_path / "work").root))
    opened = open_context()
    yield opened
    opened.engine.dispose()


def served_id(ctx: Context, sample_id: str | None = None) -> str:
    """The first served prediction, of this sample if one is given."""
    first = predictions.c.seq == 1
    with writing(ctx.engine) as connection:
        if sample_id is not None:
            connection.execute(update(predictions).where(first).values(sample_id=sample_id))
        return str(connection.scalar(select(predictions.c.prediction_id).where(first)))


def printed(ctx: Context, prediction_id: str) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    show_trace(trace(ctx.engine, prediction_id), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_prediction_leads_back_to_model_snapshot_label_and_annotators(ctx: Context) -> None:
    traced = trace(ctx.engine, served_id(ctx, "a"))
    assert traced.image.sample is not None and traced.image.sample.origin == "ingest"
    assert traced.verdict is not None and traced.verdict.champion is None
    assert traced.snapshot is not None and traced.snapshot.name == "snapshot-0001"
    assert traced.truth is not None and traced.truth.label == "cat"
    assert [answer.annotator for answer in traced.truth.answers] == ["ann"]
    parts = {"prediction", "image", "model", "verdict", "snapshot", "truth", "outcomes"}
    assert set(asdict(traced)) == parts
    assert [(one.truth, one.superseded_by) for one in traced.outcomes] == [
        ("dog", "outcome-1"), ("eel", None),
    ]  # fmt: skip
    assert "superseded" in printed(ctx, traced.prediction.prediction_id)
    assert traced.model.version in printed(ctx, traced.prediction.prediction_id)


def test_what_a_model_learnt_from_the_pool_is_named(ctx: Context) -> None:
    why = "12 rows of weight 0.5: 12 inferred labels of 300 samples of the pool"
    assert "pool" not in printed(ctx, served_id(ctx, "a"))
    with writing(ctx.engine) as connection:
        connection.execute(update(models).values(config={"pool": why}))
    assert why in printed(ctx, served_id(ctx))


def test_an_image_that_nobody_labelled_has_no_label_yet(ctx: Context) -> None:
    prediction_id = served_id(ctx)
    traced = trace(ctx.engine, prediction_id)
    assert traced.image.sample is None and traced.truth is None
    page = printed(ctx, prediction_id)
    assert "hone ingest" in page and "nobody has labelled this image yet" in page


def test_an_unknown_prediction_is_an_error_that_says_where_ids_come_from(ctx: Context) -> None:
    with pytest.raises(HoneError, match="'no-such' in the store; `hone watch`"):
        trace(ctx.engine, "no-such")
