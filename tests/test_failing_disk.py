"""A disk that is full or broken at any write, sync or rename: an error, nothing half visible."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from core.files import write_atomically
from core.shards import pack, read_image, write_shard
from labeling.ingest.checks import samples_are_in_their_shards
from labeling.ingest.intake import ingest
from labeling.ledger.tables import samples
from models.registry.checks import models_hold_data_only
from models.registry.model_store import load_model, unrecorded_entries
from models.serving.segment_reader import Record, scan
from models.serving.segments import SegmentWriter
from tests.failing_disk import AT_MOST, BROKEN, FULL, failures
from tests.models.saved_models import make_workspace, png, save
from tests.models.serving.test_prediction_store import served

IMAGES = [(f"{n}.png", bytes([n]) * 40_000) for n in range(3)]


@pytest.mark.parametrize("error", [FULL, BROKEN])
def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path, error: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    hit = []
    for failed in failures(tmp_path, lambda: write_atomically(path, b"new" * 50_000), error):
        hit.append(failed)
        is_renamed = hit.count("rename") and failed == "fsync"  # of the folder
        assert path.read_bytes() == (b"new" * 50_000 if is_renamed else b"old")
        assert [one.name for one in tmp_path.iterdir()] == ["file"]
        path.write_bytes(b"old")
    assert hit == ["open", "write", "fsync", "rename", "fsync"]
    assert path.read_bytes() == b"new" * 50_000


@pytest.mark.parametrize("error", [FULL, BROKEN])
def test_a_shard_is_whole_or_absent(tmp_path: Path, error: int) -> None:
    name = pack(IMAGES).name
    for _ in failures(tmp_path, lambda: write_shard(tmp_path, IMAGES), error):
        assert {one.name for one in tmp_path.iterdir()} <= {name}
        for place, (_, content) in zip(write_shard(tmp_path, IMAGES), IMAGES, strict=True):
            assert read_image(tmp_path, place) == content
        (tmp_path / name).unlink()
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("error", [FULL, BROKEN])
def test_what_was_answered_is_recorded_and_what_was_not_harms_nothing(
    tmp_path: Path, error: int
) -> None:
    answered: list[str] = []
    numbers = iter(range(1000))

    def answer() -> None:
        writer = SegmentWriter(tmp_path)
        for _ in range(3):
            number = next(numbers)
            writer.append([(served(number, b"image"), b"image")])
            answered.append(f"prediction-{number}")

    hit = list(failures(tmp_path, answer, error))
    assert {"open", "write", "fsync"} <= set(hit)
    parts = [part for path in tmp_path.glob("*.seg") for part in scan(path)]
    assert all(isinstance(part, Record) for part in parts), "a torn end is no damage"
    recorded = {part.fields["prediction_id"] for part in parts if isinstance(part, Record)}
    assert set(answered) <= recorded
    assert all(path.stat().st_size for path in tmp_path.glob("*.seg"))


def test_an_ingest_that_fails_anywhere_is_completed_by_the_next(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "workspace")
    folders = [tmp_path / str(number) for number in range(AT_MOST)]
    begun: list[Path] = []

    def take() -> None:
        folder = folders[len(begun)]
        folder.mkdir()
        (folder / "image.png").write_bytes(png(len(begun)))
        begun.append(folder)
        ingest(engine, workspace, [folder])

    for failed in failures(workspace.root, take, BROKEN):
        assert list(samples_are_in_their_shards(engine, workspace)) == [], failed
        ingest(engine, workspace, [begun[-1]])
        with engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(samples)) == len(begun)
        assert len(list(workspace.shards.iterdir())) == len(begun), failed
    assert len(begun) > 5
    engine.dispose()


def test_a_model_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "workspace")
    seeds: list[int] = []

    def keep() -> None:
        seeds.append(len(seeds))
        save(workspace, engine, seeds[-1])

    for failed in failures(workspace.root, keep, FULL):
        assert list(models_hold_data_only(engine, workspace)) == [], failed
        load_model(engine, workspace.bento_home, save(workspace, engine, seeds[-1]))
        assert unrecorded_entries(engine, workspace.bento_home) == [], failed
    assert len(seeds) > 20
    engine.dispose()
