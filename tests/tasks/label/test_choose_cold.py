"""Batches between the first labels and the first model: chosen by what the labels teach."""

from pathlib import Path

import pytest
from sqlalchemy import insert

from core.database import connect, now, upgrade, writing
from core.workspace import init_workspace
from labeling.audit.membership import set_key
from labeling.batches.quality_control import QualityControlConfig
from labeling.batches.select import SelectionConfig
from labeling.ingest.intake import ingest
from labeling.ledger.rounds import load_pool, load_rule
from labeling.ledger.tables import labels
from tasks.direct_run import direct_runs
from tasks.label import choose
from tests.labeling.ingest.test_near_duplicates import scenes

CLASSES = ["cat", "dog"]


@pytest.mark.parametrize("strategy", ["auto", "rare_bait"])
def test_labels_without_a_model_are_chosen_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    workspace = init_workspace(tmp_path / "workspace", CLASSES, image_size=32)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    engine = connect(workspace.database)
    upgrade(engine)
    with writing(engine) as connection:
        set_key(connection, bytes(32))
    folder = tmp_path / "images"
    folder.mkdir()
    for number, scene in enumerate(scenes(90)):
        scene.save(folder / f"{number:03}.png")
    ingest(engine, workspace, [folder])
    settled = {"trust": 1.0, "annotators": [], "method": "import", "settled_at": now()}
    with writing(engine) as connection:
        names = load_pool(connection)["sample_id"].tolist()[:24]
        rows = [{"sample_id": name, "label": CLASSES[at % 2]} for at, name in enumerate(names)]
        connection.execute(insert(labels), [row | settled for row in rows])
    selection = SelectionConfig(size=8, strategy=strategy, random_share=0)
    with direct_runs():
        round_id = choose.choose_batch.fn(None, selection, QualityControlConfig(), 0, 500)
    assert round_id is not None
    with engine.connect() as connection:
        rule = load_rule(connection, round_id)
    assert rule is not None and "predictions: a linear head on these" in rule
    expected = {"auto": "(by 24 labels, points of error", "rare_bait": "rare_bait; embeddings"}
    assert expected[strategy] in rule
