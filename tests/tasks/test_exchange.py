import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from labeling.formats.import_result import ImageCounts, RowCounts
from labeling.ingest.intake import ingest
from tasks.exchange import export_labels, import_labels
from tests.labeling.formats.workspaces import House, make_house, put_pictures


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    put_pictures(tmp_path / "files", "a.png", "b.png")
    return make_house(tmp_path / "workspace")


def test_an_import_prints_counts_and_each_refused_row(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,zebra\nc.png,dog\nb.png,\n")
    result = import_labels(path)
    assert result.images == ImageCounts(added=2, known=0, refused={"NO_SUCH_IMAGE": 1})
    assert result.answers is not None and result.answers.new == 1
    assert result.labels["settled"] == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "images: 2 new, 0 known, refused: 1 NO_SUCH_IMAGE"
    assert lines[1] == (
        "answers: 1 new, 0 known, refused: 1 NO_SUCH_IMAGE, 1 UNKNOWN_CLASS, "
        "1 images without a label"
    )
    assert lines[2].startswith("labels: 1 settled")
    assert lines[3].startswith("  line 3, b.png: UNKNOWN_CLASS, 'zebra' is no class;")
    assert lines[4].startswith("  line 4, c.png: NO_SUCH_IMAGE, 'c.png' is no file;")
    assert len(lines) == 5
    assert list(house.labels().values()) == ["cat"]


def test_many_refused_rows_are_counted_with_the_command_that_lists_them(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\n" + "".join(f"{number}.png,cat\n" for number in range(11)))
    result = import_labels(path)
    assert [row.path for row in result.refused] == [f"{number}.png" for number in range(11)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "  NO_SUCH_IMAGE: 8 more"
    assert "`hone quality` lists refused answers" in lines[-1]


def test_the_result_of_an_import_is_json(house: House, tmp_path: Path) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,zebra\n")
    content = json.loads(json.dumps(asdict(import_labels(path))))
    assert content["answers"] == {
        "new": 1, "known": 0, "withdrawn": 0, "refused": {"UNKNOWN_CLASS": 1}
    }  # fmt: skip
    assert content["gold"] is None and content["source"] == "import:labels.csv"
    assert content["refused"][0]["reason"] == "UNKNOWN_CLASS"


def test_the_same_file_again_changes_nothing(house: House, tmp_path: Path) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,dog\n")
    import_labels(path)
    again = import_labels(path)
    assert again.answers == RowCounts(new=0, known=2, withdrawn=0, refused={})
    assert again.images == ImageCounts(added=0, known=2, refused={})


def test_gold_stays_the_label_whatever_people_answer(house: House, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "exam.csv").write_text("image,label\na.png,cat\n")
    (files / "people.csv").write_text("image,label,annotator\na.png,dog,ann\na.png,dog,ben\n")
    gold = import_labels(files / "exam.csv", gold=True).gold
    assert gold is not None and gold.new == 1
    import_labels(files / "people.csv")
    assert list(house.labels().values()) == ["cat"]


def test_a_snapshot_goes_out_and_comes_back(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_pictures(tmp_path / "tree", "cat/a.png", "dog/b.png")
    import_labels(tmp_path / "tree")
    house.cut()
    assert export_labels(tmp_path / "out", format="folders") == 2
    assert f"2 labels written to {tmp_path / 'out'} as folders" in capsys.readouterr().out
    back = import_labels(tmp_path / "out")
    assert back.images == ImageCounts(added=0, known=2, refused={})


def test_a_lost_class_stops_an_import_before_it_withdraws_answers(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,dog\n")
    import_labels(path)
    settings = house.workspace.root / "hone.toml"
    settings.write_text(settings.read_text().replace('name = "dog"', 'name = "hound"'))
    with pytest.raises(ValueError, match=r"'dog' is gone from hone.toml, but 1 answers"):
        import_labels(path)
    assert sorted(house.labels().values()) == ["cat", "dog"]


def test_images_may_lie_in_a_folder_that_is_named(house: House, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,label\na.png,cat\n")
    counts = import_labels(path, images=tmp_path / "files").answers
    assert counts is not None and counts.new == 1


@pytest.mark.parametrize("format", ["csv", "coco", "folders", "label-studio"])
def test_an_export_has_the_names_that_two_ingested_files_had(
    house: House, tmp_path: Path, format: str
) -> None:
    put_pictures(tmp_path / "camera", "DSC_1.png", "with blank, comma.jpg")
    ingest(house.engine, house.workspace, [tmp_path / "camera"])
    table = 'image,label\nDSC_1.png,cat\n"with blank, comma.jpg",dog\n'
    (tmp_path / "camera" / "labels.csv").write_text(table)
    import_labels(tmp_path / "camera" / "labels.csv")
    house.cut()
    export_labels(tmp_path / "out", format=format)
    names = original_names(tmp_path / "out", format)
    camera = (tmp_path / "camera").resolve()
    assert names == {str(camera / "DSC_1.png"), str(camera / "with blank, comma.jpg")}


def original_names(folder: Path, format: str) -> set[str]:
    """The file names in an export, read as another program would."""
    if format in ("csv", "folders"):
        table = "files.csv" if format == "folders" else "snapshot-0001.csv"
        with (folder / table).open(encoding="utf-8", newline="") as file:
            return {row["file_name"] for row in csv.DictReader(file)}
    content = json.loads((folder / "snapshot-0001.json").read_text(encoding="utf-8"))
    if format == "coco":
        return {image["original_file_name"] for image in content["images"]}
    return {task["data"]["file_name"] for task in content}
