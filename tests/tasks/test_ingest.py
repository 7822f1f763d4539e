"""Served images become samples, also beside damaged ones."""

from pathlib import Path

import pytest
from sqlalchemy import select

from labeling.ingest import intake
from labeling.ledger.tables import samples
from models.serving import prediction_store
from models.serving.segments import SegmentWriter
from tasks import ingest
from tasks.context import open_context
from tests.models.saved_models import png
from tests.models.serving.test_prediction_store import served
from tests.tasks.labelled_folders import new_workspace


def serve(traffic: Path, numbers: range) -> Path:
    writer = SegmentWriter(traffic)
    for number in numbers:
        writer.append([(served(number, png(number)), png(number))])
    writer.close()
    return max(traffic.glob("*.seg"))


def adopted() -> int:
    with open_context().engine.connect() as connection:
        return len(connection.execute(select(samples.c.sample_id)).all())


def test_a_damaged_served_image_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = new_workspace(tmp_path, monkeypatch)
    damaged, lost = (serve(workspace.traffic, range(n, n + 3)) for n in (0, 3))
    serve(workspace.traffic, range(6, 9))
    assert prediction_store.drain(open_context().engine, workspace.traffic) == 9
    content = damaged.read_bytes()
    place = content.index(png(1)) + 30
    damaged.write_bytes(content[:place] + b"?" + content[place + 1 :])
    lost.unlink()
    assert ingest.adopt_traffic.fn() == 5
    out = capsys.readouterr().out
    assert out.count("is left out:") == 4
    assert "the image of prediction prediction-1 is left out:" in out
    assert ingest.adopt_traffic.fn() == 0
    assert adopted() == 5


def test_large_served_images_are_looked_at_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = new_workspace(tmp_path, monkeypatch)
    serve(workspace.traffic, range(8))
    sizes: list[int] = []
    unseen = intake._Store.unseen

    def counted(store: intake._Store, files: list[intake.ImageFile]) -> list[intake.ImageFile]:
        sizes.append(len(files))
        return unseen(store, files)

    monkeypatch.setattr(intake._Store, "unseen", counted)
    monkeypatch.setattr(intake, "PART_BYTES", 2 * len(png(0)))
    assert ingest.adopt_traffic.fn() == 8
    assert max(sizes) <= 3
