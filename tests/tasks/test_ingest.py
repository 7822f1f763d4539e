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
from tasks.direct_run import direct_runs
from tasks.operate.status import load_status
from tasks.operate.status_view import status_lines
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


def test_a_table_says_more_of_the_images_of_several_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new_workspace(tmp_path, monkeypatch)
    folders = [tmp_path / "north", tmp_path / "south"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / f"{number}.png").write_bytes(png(number))
    places = [str(folder) for folder in folders]
    with direct_runs():
        ingest.ingest_files.fn(places, 1)
    (tmp_path / "about.csv").write_text("image,lens\n0.png,50\n1.png,35\n2.png,35\n")
    capsys.readouterr()
    assert ingest.record_metadata.fn(str(tmp_path / "about.csv"), places) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "about.csv: lens of 2 images: 2 values new, 0 changed, 0 known, refused: 1 NO_SUCH_IMAGE"
    )
    assert lines[1].startswith("  line 4: NO_SUCH_IMAGE, '2.png' is no file below")
    assert ingest.record_metadata.fn(str(tmp_path / "about.csv"), places) == 0
    status = load_status(open_context())
    assert status.metadata == ["lens"]
    assert dict(status_lines(status))["Images"] == "2; slices by lens"
