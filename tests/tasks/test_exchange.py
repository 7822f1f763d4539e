from pathlib import Path

import pytest

from tasks.exchange import export_labels, import_labels
from tests.labeling.formats.workspaces import House, make_house, put_pictures


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    put_pictures(tmp_path / "files", "a.png", "b.png")
    return make_house(tmp_path / "workspace")


def test_labels_come_in_and_it_is_said_in_a_few_lines(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,zebra\nc.png,dog\nb.png,\n")
    facts = import_labels(path)
    assert facts["images"] == {"added": 2, "known": 0, "refused": {"NO_SUCH_IMAGE": 1}}
    assert facts["answers"]["new"] == 1 and facts["labels"]["settled"] == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "images: 2 taken in, 0 known, refused: 1 NO_SUCH_IMAGE"
    assert said[1] == (
        "answers: 1 new, 0 known, refused: 1 NO_SUCH_IMAGE, 1 UNKNOWN_CLASS, "
        "1 images without a label"
    )
    assert said[2].startswith("labels: 1 settled")
    assert len(said) == 5
    assert list(house.labels().values()) == ["cat"]


def test_the_same_file_again_changes_nothing(house: House, tmp_path: Path) -> None:
    path = tmp_path / "files" / "labels.csv"
    path.write_text("image,label\na.png,cat\nb.png,dog\n")
    import_labels(path)
    again = import_labels(path)
    assert again["answers"] == {"new": 0, "known": 2, "withdrawn": 0, "refused": {}}
    assert again["images"] == {"added": 0, "known": 2, "refused": {}}


def test_gold_stays_the_label_whatever_people_answer(house: House, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "exam.csv").write_text("image,label\na.png,cat\n")
    (files / "people.csv").write_text("image,label,annotator\na.png,dog,ann\na.png,dog,ben\n")
    assert import_labels(files / "exam.csv", gold=True)["gold"]["new"] == 1
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
    assert back["images"] == {"added": 0, "known": 2, "refused": {}}


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
    assert import_labels(path, images=tmp_path / "files")["answers"]["new"] == 1
