import hashlib
import json
import secrets
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select

from core import hone_toml
from labeling.formats.csv_table import read_csv
from labeling.formats.image_lookup import Absent, find_files
from labeling.formats.imports import detect_format, read_labels
from labeling.formats.label_studio import read_label_studio
from labeling.kinds import KINDS
from labeling.ledger.tables import answers, refused_answers, samples
from tests.labeling.formats.workspaces import House, make_house, put_pictures

CLASSES = ["cat", "dog"]
KIND = KINDS["classification"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return make_house(tmp_path / "workspace", *CLASSES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_pictures(tmp_path / "files", "a.png", "b.png", "c.jpg")
    return tmp_path / "files"


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def id_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def task(number: int, image: str, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": number, "data": {"image": image, **more}, "annotations": list(annotations)}


def choice(*names: str, who: Any = None, **more: Any) -> dict[str, Any]:
    part = {"type": "choices", "from_name": "animal", "to_name": "img", "value": {"choices": names}}
    return {"result": [part], "completed_by": who, "was_cancelled": False, **more}


def coco(**categories_of: list[str]) -> dict[str, Any]:
    files = {"a": "a.png", "b": "b.png", "c": "c.jpg"}
    images = [{"id": n, "file_name": files[name]} for n, name in enumerate(categories_of)]
    said = [
        {"id": 9, "image_id": n, "category_id": CLASSES.index(name) if name in CLASSES else 99}
        for n, names in enumerate(categories_of.values())
        for name in names
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES)]
    return {"images": images, "annotations": said, "categories": categories}


# ---------------------------------------------------------------- what a file says becomes labels


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", [("image", "label"), ("Path", "Class"), ("filename", "CATEGORY")]
)
def test_a_table_becomes_labels(
    house: House, folder: Path, delimiter: str, header: tuple[str, str]
) -> None:
    lines = [header, ("a.png", "cat"), ("b.png", "dog")]
    table = "\ufeff" + "\r\n".join(delimiter.join(line) for line in lines)
    done = house.take(write(folder / "labels.csv", table))
    assert (done["new"], done["refused"]) == (2, {})
    assert done["images"] == {"added": 2, "known": 0, "refused": {}}
    assert house.labels() == {id_of(folder / "a.png"): "cat", id_of(folder / "b.png"): "dog"}
    assert house.answers() == [
        ("import:labels.csv", "answer", "cat"), ("import:labels.csv", "answer", "dog")
    ]  # fmt: skip


def test_a_coco_file_becomes_labels_and_its_boxes_are_left_aside(
    house: House, folder: Path
) -> None:
    found = coco(a=["cat", "cat"], b=["dog"], c=[])
    found["annotations"][0]["bbox"] = [0, 0, 3, 3]
    done = house.take(write(folder / "coco.json", found))
    assert (done["new"], done["unlabelled"]) == (2, 1)
    assert "1 boxes or masks" in done["notes"][0]
    assert sorted(house.labels().values()) == ["cat", "dog"]
    assert done["images"]["added"] == 3


def test_the_nearest_folder_that_is_a_class_is_the_label(house: House, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    names = ["cat/a.png", "train/dog/b.png", "dog/night/c.png", "cat/.hidden.png", "lynx/d.png"]
    put_pictures(tree, *names, "loose.png")
    done = house.take(tree)
    assert sorted(house.labels().values()) == ["cat", "dog", "dog"]
    assert done["refused"] == {"UNKNOWN_CLASS": 1, "NO_CLASS": 1}
    assert done["images"]["added"] == 4
    assert "1 hidden files" in done["notes"][0]


def test_an_export_of_label_studio_becomes_answers_of_its_people(
    house: House, folder: Path
) -> None:
    found = [
        task(1, "a.png", choice("cat", who={"email": "ann@x.org"}), choice("cat", who=7)),
        task(2, "b.png", choice("dog", who={"email": "ann@x.org"}, was_cancelled=True)),
        task(3, "c.jpg", choice("dog", who={"email": "ann@x.org"}, ground_truth=True)),
        task(4, "a.png"),
    ]
    done = house.take(write(folder / "export.json", found))
    assert house.answers() == [
        ("ann@x.org", "answer", "cat"),
        ("ann@x.org", "skip", None),
        ("ann@x.org", "verdict", "dog"),
        ("import:export.json:user-7", "answer", "cat"),
    ]
    assert done["unlabelled"] == 1


def test_json_min_becomes_answers(house: House, folder: Path) -> None:
    rows = [
        {"id": 1, "img": "a.png", "animal": "cat", "annotator": 1, "annotation_id": 1},
        {"id": 2, "img": "b.png", "animal": [{"choices": ["cat", "dog"]}], "annotator": 1},
        {"id": 3, "img": "c.jpg", "annotator": {}, "annotation_id": None},
    ]
    done = house.take(write(folder / "min.json", rows))
    assert house.answers() == [("import:min.json:user-1", "answer", "cat")]
    assert (done["refused"], done["unlabelled"]) == ({"TWO_CHOICES": 1}, 1)
    assert done["images"]["added"] == 3


def test_a_row_may_name_a_sample_we_have_and_needs_no_file(
    house: House, folder: Path, tmp_path: Path
) -> None:
    house.take(write(folder / "first.csv", "image,label\na.png,cat\n"))
    sample_id = id_of(folder / "a.png")
    rows = f"sample_id,image,label\n{sample_id},gone.png,cat\n{'0' * 64},,cat\n"
    done = house.take(write(tmp_path / "ids.csv", rows))
    assert done["images"] == {"added": 0, "known": 1, "refused": {}}
    assert (done["new"], done["refused"]) == (1, {"NO_SUCH_SAMPLE": 1})


def test_several_annotators_are_several_answers(house: House, folder: Path) -> None:
    table = "image,label,annotator,answered_at\na.png,cat,ann,\na.png,dog, ben ,2026-01-01\n"
    house.take(write(folder / "labels.csv", table))
    assert house.answers() == [("ann", "answer", "cat"), ("ben", "answer", "dog")]
    assert house.labels() == {}  # they disagree: asked again


def test_the_last_of_two_answers_by_one_annotator_counts_and_it_is_said(
    house: House, folder: Path
) -> None:
    table = (
        "image,label,answered_at\n"
        "a.png,cat,\na.png,dog,\n"
        "b.png,cat,2026-01-02T00:00:00+02:00\nb.png,dog,2026-01-01T21:00:00Z\n"
    )
    done = house.take(write(folder / "labels.csv", table))
    assert house.labels() == {id_of(folder / "a.png"): "dog", id_of(folder / "b.png"): "cat"}
    assert done["refused"] == {"REPEATED": 2}
    assert "line 2: the same annotator" in done["problems"][0]


def test_a_class_may_be_written_with_accents_composed_differently(tmp_path: Path) -> None:
    house = make_house(tmp_path / "workspace", "M\u00fcll", "Glas")
    put_pictures(tmp_path / "tree", "Mu\u0308ll/a.png", "Glas/b.png")
    assert house.take(tmp_path / "tree")["refused"] == {}
    assert sorted(house.labels().values()) == ["Glas", "M\u00fcll"]


# ---------------------------------------------------------------- the same file again, and edited


def test_a_label_of_endless_accents_is_no_class_and_takes_no_work(
    house: House, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work of composing accents grows with the square of their number."""
    composed: list[int] = []

    def normalize(form: str, text: str) -> str:
        composed.append(len(text))
        return text

    monkeypatch.setattr(hone_toml, "unicodedata", SimpleNamespace(normalize=normalize))
    accents = "a" + "\u0301" * 20_000 + "\u0323" * 20_000
    done = house.take(write(folder / "labels.csv", f"image,label\na.png,{accents}\nb.png,cat\n"))
    assert (done["new"], done["refused"]) == (1, {"UNKNOWN_CLASS": 1})
    assert max(composed) <= hone_toml.LONGEST_COMPOSED


def test_the_same_file_again_changes_nothing(house: House, folder: Path) -> None:
    path = write(folder / "labels.csv", "image,label\na.png,cat\nb.png,zebra\n")
    house.take(path)
    again = house.take(path)
    assert (again["new"], again["known"], again["withdrawn"]) == (0, 1, 0)
    assert again["images"] == {"added": 0, "known": 2, "refused": {}}
    with house.engine.connect() as connection:
        for table in (answers, refused_answers):
            assert connection.scalar(select(func.count()).select_from(table)) == 1


def test_edits_and_deletions_are_seen_and_the_history_stays(house: House, folder: Path) -> None:
    house.take(write(folder / "labels.csv", "image,label\na.png,cat\nb.png,cat\n"))
    done = house.take(write(folder / "labels.csv", "image,label\na.png,dog\n"))
    assert (done["new"], done["withdrawn"]) == (1, 1)
    assert house.labels() == {id_of(folder / "a.png"): "dog"}
    back = house.take(write(folder / "labels.csv", "image,label\na.png,cat\nb.png,cat\n"))
    assert back["new"] == 2
    assert sorted(house.labels().values()) == ["cat", "cat"]
    with house.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(answers)) == 5


def test_another_file_of_the_same_name_withdraws_nothing(house: House, tmp_path: Path) -> None:
    for name in ("one", "two"):
        put_pictures(tmp_path / name, f"{name}.png")
        write(tmp_path / name / "labels.csv", f"image,label\n{name}.png,cat\n")
    house.take(tmp_path / "one" / "labels.csv")
    with pytest.raises(ValueError, match=r"1 of its samples are not in this one.*rename"):
        house.take(tmp_path / "two" / "labels.csv")
    assert len(house.labels()) == 1


def test_an_image_that_was_taken_in_needs_no_file_any_more(house: House, folder: Path) -> None:
    path = write(folder / "labels.csv", "image,label\na.png,cat\n")
    house.take(path)
    (folder / "a.png").unlink()
    assert house.take(write(path, "image,label\na.png,dog\n"))["refused"] == {}
    assert list(house.labels().values()) == ["dog"]


# ---------------------------------------------------------------- what is refused, and the rest


def test_every_problem_is_named_with_cause_and_remedy_and_the_rest_goes_on(
    house: House, folder: Path
) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    table = (
        "image,label,answered_at\n"
        "a.png,zebra,\nmissing.png,cat,\nhttps://x.org/a.png,cat,\nb.png,cat,yesterday\n"
        "b.png,cat\nbroken.png,cat,\nc.jpg,dog,\n,cat,\n"
    )
    done = house.take(write(folder / "labels.csv", table))
    assert house.labels() == {id_of(folder / "c.jpg"): "dog"}
    assert done["refused"] == {
        "UNKNOWN_CLASS": 1, "NO_SUCH_IMAGE": 1, "NOT_FETCHED": 1, "BAD_TIME": 1, "MALFORMED": 1,
        "TRUNCATED": 1, "NO_SUCH_SAMPLE": 1,
    }  # fmt: skip
    assert done["images"]["refused"] == {"NO_SUCH_IMAGE": 1, "NOT_FETCHED": 1, "TRUNCATED": 1}
    told = "\n".join(done["problems"])
    assert "line 2: 'zebra' is no class; the classes of hone.toml are cat, dog" in told
    for remedy in ("--images", "download it", "2026-11-21T10:00:00Z", "quote its text"):
        assert remedy in told
    with house.engine.connect() as connection:
        kept = set(connection.scalars(select(refused_answers.c.reason)))
    assert kept == set(done["refused"])


def test_only_the_first_problems_of_a_kind_are_told(house: House, folder: Path) -> None:
    lines = "".join(f"{number}.png,cat\n" for number in range(10))
    done = house.take(write(folder / "labels.csv", f"image,label\na.png,cat\n{lines}"))
    assert done["refused"] == {"NO_SUCH_IMAGE": 10}
    assert done["problems"][-1] == "NO_SUCH_IMAGE: 7 more" and len(done["problems"]) == 4


def test_several_categories_on_one_image_are_not_a_label(house: House, folder: Path) -> None:
    found = coco(a=["cat", "dog"], b=["lynx"], c=["cat"])
    found["annotations"].append({"id": 1, "image_id": 77, "category_id": 0})
    done = house.take(write(folder / "coco.json", found))
    assert done["refused"] == {"TWO_CATEGORIES": 1, "NO_SUCH_CATEGORY": 1, "NO_SUCH_IMAGE": 1}
    assert "cat, dog; one image has one class here" in "\n".join(done["problems"])
    assert house.labels() == {id_of(folder / "c.jpg"): "cat"}


def test_a_category_id_that_stands_for_two_names_is_refused(tmp_path: Path) -> None:
    found = coco(a=["cat"])
    found["categories"].append({"id": 0, "name": "cat"})  # the same twice does no harm
    assert read_labels(write(tmp_path / "same.json", found), CLASSES, KIND).rows[0].label == "cat"
    found["categories"].append({"id": 0, "name": "dog"})
    (row,) = read_labels(write(tmp_path / "two.json", found), CLASSES, KIND).rows
    assert (row.label, row.reason) == (None, "NO_SUCH_CATEGORY")
    assert "category id '0' stands for 'cat', 'dog'; give each" in str(row.detail)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", " \n", "is empty"),
        ("head.csv", "image,label\n", "a header and no rows"),
        ("other.csv", "picture;species\na.png;cat\n", "'picture', 'species'.*one of image"),
        ("cut.json", '[{"id": 1', "is no JSON.*cut short"),
        ("object.json", {"images": [], "annotations": [], "categories": []}, "is no COCO file"),
        ("list.json", [], "is no JSON or JSON-MIN export"),
        ("list2.json", [{"a": 1}, 3], "is no JSON or JSON-MIN export"),
        ("labels.xls", "x", "give --format"),
    ],
)
def test_a_file_that_is_no_label_file_is_one_clear_error(
    tmp_path: Path, name: str, content: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read_labels(write(tmp_path / name, content), CLASSES, KIND)
    assert name in str(error.value)


def test_a_format_that_is_named_wins_over_the_looks(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.txt", "image,label\na.png,cat\n")
    assert len(read_labels(path, CLASSES, KIND, "csv").rows) == 1
    with pytest.raises(ValueError, match="is no JSON"):
        read_labels(path, CLASSES, KIND, "coco")
    with pytest.raises(ValueError, match=r"format is 'yolo'; choose from csv, coco"):
        read_labels(path, CLASSES, KIND, "yolo")
    with pytest.raises(ValueError, match="does not exist"):
        read_labels(tmp_path / "nothing.csv", CLASSES, KIND)


def test_the_format_is_guessed_from_the_looks(tmp_path: Path) -> None:
    assert detect_format(tmp_path) == "folders"
    assert detect_format(tmp_path / "a.TSV") == "csv"
    assert detect_format(write(tmp_path / "a.json", "\ufeff [{}]")) == "label-studio"
    assert detect_format(write(tmp_path / "b.json", {})) == "coco"


def test_a_tree_where_no_folder_is_a_class_is_one_clear_error(tmp_path: Path) -> None:
    put_pictures(tmp_path / "tree", "images/a.png", "other/b.png")
    with pytest.raises(ValueError, match=r"it has images, other, the classes .* are cat, dog"):
        read_labels(tmp_path / "tree", CLASSES, KIND)


def test_text_in_another_encoding_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("image,label\nä.png,cat\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not in UTF-8 \(line 2, byte 12\)"):
        read_csv(tmp_path / "a.csv", CLASSES, KIND)


@pytest.mark.parametrize(
    "result", [None, 3, [], [{"value": {"rectanglelabels": ["cat"]}}], [{"value": {}}],
               [{"value": {"choices": [["cat"]]}}]]
)  # fmt: skip
def test_an_annotation_without_a_choice_is_refused(tmp_path: Path, result: Any) -> None:
    path = write(tmp_path / "a.json", [task(1, "a.png", {"result": result})])
    (row,) = read_label_studio(path, CLASSES, KIND).rows
    reason = "NO_CHOICE" if isinstance(result, list) else "MALFORMED"
    assert (row.reason, row.label) == (reason, None)


# ---------------------------------------------------------------- which file a name means


def test_what_label_studio_calls_an_image_is_found_below_the_folder(tmp_path: Path) -> None:
    put_pictures(tmp_path, "staged/images/a.png", "in/my cat (1).png", "in/b.png", "one/x.png",
                 "two/x.png", "in/d.png")  # fmt: skip
    found = find_files(
        [
            "/data/local-files/?d=staged/images/a.png",
            "/data/upload/3/8f3a2b1c-my_cat_1.png",
            "/data/local-files/?d=elsewhere/in/b.png",
            "d.png", "x.png", "s3://bucket/a.png", "data:image/png;base64,AAAA", "q/\0\ud800.png",
            "../../../etc/nothing.png",
        ],
        tmp_path,
    )  # fmt: skip
    there = [str(tmp_path / name) for name in (
                 "staged/images/a.png", "in/my cat (1).png", "in/b.png",
                                               "in/d.png")]  # fmt: skip
    assert list(found.values())[:4] == there
    reasons = [fate.reason for fate in found.values() if isinstance(fate, Absent)]
    assert reasons == ["AMBIGUOUS", "NOT_FETCHED", "NOT_FETCHED", "NO_SUCH_IMAGE", "OUTSIDE"]


def test_no_name_leads_out_of_the_folder_unless_that_is_allowed(tmp_path: Path) -> None:
    put_pictures(tmp_path, "outside/secret.png", "labels/a.png")
    folder, secret = tmp_path / "labels", tmp_path / "outside" / "secret.png"
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    names = ["../outside/secret.png", str(secret), f"file://{secret}", "link.png", "a.png",
             "linked/secret.png", "..\\outside\\secret.png", "x/../../outside/secret.png",
             "/data/local-files/?d=link.png", "secret.png"]  # fmt: skip
    places = find_files(names, folder)
    assert places.pop("a.png") == str(folder / "a.png")
    assert not any(isinstance(place, str) for place in places.values())
    assert [one.reason for one in places.values() if isinstance(one, Absent)][:3] == ["OUTSIDE"] * 3
    allowed = find_files(names[:6], folder, allow_outside=True)
    assert {allowed[name] for name in names[:4]} == {str(secret)}


def test_two_names_never_mean_one_file_by_a_guess(tmp_path: Path) -> None:
    put_pictures(tmp_path, "a.png")
    names = ["/data/local-files/?d=one/a.png", "/data/local-files/?d=two/a.png"]
    places = list(find_files(names, tmp_path).values())
    assert [isinstance(place, Absent) and place.reason for place in places] == ["AMBIGUOUS"] * 2


def test_names_that_no_file_can_have_stop_nothing(house: House, folder: Path) -> None:
    names = ["a.png", "x" * 5000, "\ud800.png", "bad\0.png", ".", "", "~", "file:///nowhere.png"]
    found = [task(n, name, choice("cat"), key="v") for n, name in enumerate(names)]
    done = house.take(write(folder / "export.json", found))
    assert done["new"] == 1
    assert done["refused"] == {"NO_SUCH_IMAGE": 5, "OUTSIDE": 1, "NO_SUCH_SAMPLE": 1}


def test_names_too_long_for_a_key_of_the_database_refuse_their_row_alone(
    house: House, folder: Path
) -> None:
    """PostgreSQL refused the whole import: no index takes a key of 12 kB."""
    long = secrets.token_hex(6_000)
    lines = ["image,label,annotator", f"a.png,cat,{long}", f"{long}.png,cat,ann", "b.png,dog,ann"]
    done = house.take(write(folder / "labels.csv", "\n".join(lines)))
    assert (done["new"], done["refused"]) == (1, {"MALFORMED": 1, "NO_SUCH_IMAGE": 1})
    with house.engine.connect() as connection:
        keys = connection.scalars(select(refused_answers.c.external_id)).all()
    assert len(keys) == 2 and max(map(len, keys)) < 600


def test_images_may_lie_elsewhere(house: House, folder: Path, tmp_path: Path) -> None:
    absolute = folder / "b.png"
    path = write(
        tmp_path / "labels.csv", f"image,label\na.png,cat\n{absolute},dog\nin\\c.png,cat\n"
    )
    put_pictures(folder, "in/c.png")
    assert house.take(path, images=folder)["refused"] == {}
    with pytest.raises(ValueError, match="is no folder"):
        house.take(path, images=folder / "nowhere")


def test_copies_of_an_image_are_one_sample(house: House, folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    done = house.take(write(folder / "l.csv", "image,label\na.png,cat\ncopy.png,cat\n"))
    assert (done["new"], done["refused"]) == (1, {"REPEATED": 1})
    with house.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(samples)) == 1
