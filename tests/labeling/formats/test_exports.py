import csv
import fcntl
import hashlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import func, select

from labeling.formats import READERS, WRITERS, exports
from labeling.formats.exports import export_snapshot
from labeling.formats.folders import folder_names
from labeling.ledger.tables import labels, samples, snapshots
from labeling.snapshots.publish import load_snapshot
from tests.labeling.formats.workspaces import House, make_house, picture
from tests.labeling.snapshots.workspaces import in_a_child

NASTY = [
    "cat", "Cat", "c\u0308at", "black cat", " ahead", "a, b; c\td", 'say "hi"', "two\nlines",
    "old\rmac", "\u732b \U0001f408", "with/slash", "with_slash", ".hidden", "train", "val", "CON",
    "=1+1", "..", "<b>", "x" * 300, "x" * 301, "d=1&e%2F", "classes.json", "null",
]  # fmt: skip
FORMATS = sorted(WRITERS)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Three images of each nasty class, and one that is audited, in a snapshot."""
    folder = tmp_path_factory.mktemp("exports")
    house = make_house(folder / "workspace", *NASTY)
    rng = random.Random(7)
    rows = []
    for number, name in enumerate(NASTY * 3):
        kind = rng.choice(["PNG", "JPEG"])
        image = f"{number}.{kind.lower()}"
        (folder / image).write_bytes(picture(number, kind))
        rows.append([image, name, rng.choice(["", "ann@x.org", "ben"])])
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "label", "annotator"], *rows])
    assert house.take(folder / "labels.csv")["refused"] == {}
    house.measure(min(house.labels()))
    assert house.cut() == "snapshot-0001"
    return house


def export(house: House, format: str, target: Path, **more: Any) -> Path:
    rows = export_snapshot(house.engine, house.workspace, format=format, target=target, **more)
    assert rows == len(NASTY) * 3
    return target


def file_of(folder: Path) -> Path:
    """What of an export is to be imported."""
    return next(folder.glob("snapshot-*"), folder)


def stored(house: House) -> dict[str, str]:
    """The labels in force by the bytes of their images."""
    with house.engine.connect() as connection:
        query = select(*samples.c["sample_id", "stored_sha256"])
        known = dict(connection.execute(query).tuples().all())
    return {known[sample_id]: label for sample_id, label in house.labels().items()}


def number_of_samples(house: House) -> int:
    with house.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(samples)) or 0


def test_what_can_be_written_can_be_read() -> None:
    assert set(WRITERS) == set(READERS)


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_brings_the_same_labels_into_a_new_workspace(
    house: House, tmp_path: Path, format: str
) -> None:
    new = make_house(tmp_path / "new", *NASTY)
    done = new.take(file_of(export(house, format, tmp_path / "out")))
    assert done["refused"] == {}
    assert stored(new) == stored(house)


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_makes_no_new_samples_where_it_came_from(
    house: House, tmp_path: Path, format: str
) -> None:
    before = house.labels(), number_of_samples(house)
    done = house.take(file_of(export(house, format, tmp_path / f"back-{format}")))
    assert (house.labels(), number_of_samples(house)) == before
    assert done["images"] == {"added": 0, "known": len(NASTY) * 3, "refused": {}}


@pytest.mark.parametrize("format", ["csv", "coco", "label-studio"])
def test_labels_travel_without_images_where_the_samples_are_known(
    house: House, tmp_path: Path, format: str
) -> None:
    folder = export(house, format, tmp_path / f"bare-{format}", images=False)
    assert [path.name for path in folder.iterdir()] == [file_of(folder).name]
    assert house.take(file_of(folder))["refused"] == {}


def test_the_images_are_the_bytes_in_our_care(house: House, tmp_path: Path) -> None:
    folder = export(house, "coco", tmp_path / "out")
    found = json.loads((folder / "snapshot-0001.json").read_text())
    rows = load_snapshot(house.engine, house.workspace, "snapshot-0001").set_index("sample_id")
    assert [one["name"] for one in found["categories"]] == NASTY
    assert not any("bbox" in one for one in found["annotations"])
    for image in found["images"]:
        content = (folder / image["file_name"]).read_bytes()
        row = rows.loc[image["sample_id"]]
        assert hashlib.sha256(content).hexdigest() == row["stored_sha256"]
        with Image.open(folder / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
            assert opened.format == {".jpg": "JPEG", ".png": "PNG"}[Path(image["file_name"]).suffix]
        assert image["split"] == row["split"]


def test_a_tree_has_a_folder_for_each_split_and_class(house: House, tmp_path: Path) -> None:
    folder = export(house, "folders", tmp_path / "out")
    names = json.loads((folder / "classes.json").read_text())
    rows = load_snapshot(house.engine, house.workspace, "snapshot-0001")
    expected = {(row.split, row.label, row.sample_id) for row in rows.itertuples()}
    found = {
        (path.parts[-3], names[path.parts[-2]], path.stem) for path in folder.glob("*/*/*.[jp]*")
    }
    assert found == expected
    assert {"train", "test"} <= {split for split, *_ in found}


def test_label_studio_gets_one_answer_for_each_label_and_who_gave_it(
    house: House, tmp_path: Path
) -> None:
    folder = export(house, "label-studio", tmp_path / "out")
    tasks = json.loads((folder / "snapshot-0001.json").read_text())
    people = load_snapshot(house.engine, house.workspace, "snapshot-0001")["annotators"]
    for task, annotators in zip(tasks, people, strict=True):
        (annotation,) = task["annotations"]
        known = {"email": "ann@x.org"} if annotators == ["ann@x.org"] else None
        assert annotation.get("completed_by") == known
        assert (annotation["ground_truth"], annotation["was_cancelled"]) == (False, False)
        assert (folder / task["data"]["image"].removeprefix("/data/local-files/?d=")).is_file()


def test_each_row_says_when_its_label_was_settled(house: House, tmp_path: Path) -> None:
    folder = export(house, "csv", tmp_path / "out", images=False)
    with (folder / "snapshot-0001.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["sample_id"]: row["settled_at"] for row in csv.DictReader(file)}
    with house.engine.connect() as connection:
        cut_at = connection.scalar(select(snapshots.c.created_at))
        until = labels.c.settled_at <= cut_at  # other tests settle later
        first = select(*labels.c["sample_id", "settled_at"]).where(until)
        assert rows == dict(connection.execute(first).tuples().all())


def test_a_class_that_is_no_more_in_the_workspace_is_still_exported(
    house: House, tmp_path: Path
) -> None:
    config = house.workspace.root / "hone.toml"
    text = config.read_text()
    config.write_text(text.replace('"null"', '"another"'))
    from core.workspace import load_workspace

    now = House(load_workspace(house.workspace.root), house.engine)
    folder = export(now, "coco", tmp_path / "out", images=False)
    config.write_text(text)
    found = json.loads((folder / "snapshot-0001.json").read_text())
    assert [one["name"] for one in found["categories"]][-2:] == ["another", "null"]


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True))
def test_every_class_has_a_folder_of_its_own_that_any_system_takes(classes: list[str]) -> None:
    names = folder_names(classes)
    assert list(names) == classes
    assert len({name.casefold() for name in names.values()}) == len(classes)
    for name in names.values():
        assert name and not name.startswith(".") and not name.endswith((" ", "."))
        assert not set(name) & set('<>:"/\\|?*\0\n')
        assert len(name.encode()) < 255


def test_a_class_whose_name_is_a_folder_name_keeps_it() -> None:
    assert folder_names(["a/b", "a_b"]) == {"a/b": "a_b_2", "a_b": "a_b"}


# ---------------------------------------------------------------- whole or not at all


def test_an_unknown_format_snapshot_or_a_full_target_is_a_clear_error(
    house: House, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("'yolo'; choose from csv, coco", {"format": "yolo", "target": tmp_path / "a"}),
        ("'snapshot-9' is no snapshot", {"format": "csv", "target": tmp_path / "a",
                                         "name": "snapshot-9"}),
        ("not empty; name a new folder", {"format": "csv", "target": tmp_path / "full"}),
        ("not empty; name a new folder", {"format": "csv", "target": tmp_path / "full" / "file"}),
        ("/proc/new cannot be written", {"format": "csv", "target": Path("/proc/new")}),
        ("is its images", {"format": "folders", "target": tmp_path / "a", "images": False}),
    ]  # fmt: skip
    for words, more in wrong:
        with pytest.raises(ValueError, match=words):
            export_snapshot(house.engine, house.workspace, **more)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_without_a_snapshot_there_is_nothing_to_export(tmp_path: Path) -> None:
    empty = make_house(tmp_path / "workspace")
    with pytest.raises(ValueError, match="hone collect"):
        export_snapshot(empty.engine, empty.workspace, format="csv", target=tmp_path / "out")


def test_an_empty_folder_is_a_target(house: House, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(house, "csv", tmp_path / "out")
    assert (tmp_path / "out" / "snapshot-0001.csv").is_file()


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_carries_the_names_that_images_had_before(
    house: House, tmp_path: Path, format: str
) -> None:
    folder = export(house, format, tmp_path / "out")
    path = folder / "files.csv" if format == "folders" else file_of(folder)
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
        names = {row["sample_id"]: row["file_name"] for row in rows}
    elif format == "coco":
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        names = {image["sample_id"]: image["original_file_name"] for image in images}
    else:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        names = {task["data"]["sample_id"]: task["data"]["file_name"] for task in tasks}
    ingested = {name for name in names.values() if name}
    assert {Path(name).suffix for name in ingested} == {".png", ".jpeg"}
    assert {int(Path(name).stem) for name in ingested} <= set(range(len(NASTY) * 3))
    assert len(ingested) == len(names)


def test_an_export_that_fails_leaves_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "_write_images", full)
    with pytest.raises(OSError, match="No space left"):
        export(house, "csv", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("point", ["writer", "_write_images", "rename"])
def test_killed_anywhere_it_leaves_no_target_and_the_next_run_is_whole(
    house: House, tmp_path: Path, point: str
) -> None:
    house.engine.dispose()

    def die() -> None:
        def kill(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if point == "rename":
            Path.rename = kill  # type: ignore[method-assign, assignment]
        elif point == "writer":
            WRITERS["csv"] = kill
        else:
            setattr(exports, point, kill)
        export(house, "csv", tmp_path / "out")

    assert in_a_child(die) == signal.SIGKILL
    assert not (tmp_path / "out").exists()
    export(house, "csv", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images", "snapshot-0001.csv"
    ]  # fmt: skip


def test_two_exports_to_one_target_do_not_mix(house: House, tmp_path: Path) -> None:
    part = tmp_path / ".out.part"
    part.mkdir()
    held = os.open(part, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another export is writing"):
        export(house, "csv", tmp_path / "out")
    os.close(held)
    export(house, "csv", tmp_path / "out")
