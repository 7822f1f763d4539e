"""Of a label file with one broken row that row alone is refused, with its place, whatever it is.

All other rows are read as they are without it.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.formats import READERS
from labeling.formats.rows import Row
from labeling.kinds import KINDS
from tests.fuzz.mutation import VALUES
from tests.fuzz.seeds import annotation
from tests.labeling.formats.workspaces import make_house, put_pictures

CLASSES = ["cat", "dog", "0", "1"]
KIND = KINDS["classification"]
COUNT = 6
NUMBERS = range(COUNT)
FILE = {"csv": "a.csv", "coco": "a.json", "label-studio": "a.json"}
# Fields that no label depends on: a value of another type counts as none.
OF_NO_HARM = {"lead_time", "bbox", "width"}


def name_of(number: int) -> str:
    return f"{number}.png"


def csv_rows() -> list[dict[str, Any]]:
    return [
        {"image": name_of(number), "label": CLASSES[number % 2], "annotator": "ann",
         "answered_at": "2026-01-02T03:04:05Z", "lead_time": "2.5"} for number in NUMBERS
    ]  # fmt: skip


def coco_rows() -> list[dict[str, Any]]:
    return [{"id": n, "file_name": name_of(n), "width": 4} for n in NUMBERS]


def task_rows() -> list[dict[str, Any]]:
    """Annotations; the task around each is made when the file is written."""
    return [annotation(n, CLASSES[n % 2]) for n in NUMBERS]


def flat_rows() -> list[dict[str, Any]]:
    return [
        {"id": n, "image": name_of(n), "label": CLASSES[n % 2], "annotator": 1, "lead_time": 2.5,
         "updated_at": "2026-01-02T03:04:05Z"} for n in NUMBERS
    ]  # fmt: skip


def as_csv(rows: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = list(csv_rows()[0])
    writer.writerow(names)
    for row in rows:
        if isinstance(row, dict):
            writer.writerow([row.get(name, "") for name in names])
        else:
            text.write(f"{row}\n")
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_coco(images: list[Any]) -> bytes:
    annotations = [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [0, 0, 1, 1]}
                   for n in NUMBERS]  # fmt: skip
    return coco_of(images, annotations)


def coco_of(images: list[Any], annotations: list[Any]) -> bytes:
    categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(whole).encode()


def as_annotations(annotations: list[Any]) -> bytes:
    return coco_of(coco_rows(), annotations)


def annotation_rows() -> list[dict[str, Any]]:
    return [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [0, 0, 1, 1]} for n in NUMBERS]


def as_tasks(annotations: list[Any]) -> bytes:
    tasks = [{"id": n, "data": {"image": name_of(n)}, "annotations": [one]}
             for n, one in enumerate(annotations)]  # fmt: skip
    return json.dumps(tasks).encode()


def as_list(rows: list[Any]) -> bytes:
    return json.dumps(rows).encode()


Make = Callable[[], list[dict[str, Any]]]
Write = Callable[[list[Any]], bytes]
FILES: dict[str, tuple[str, Make, Write]] = {
    "csv": ("csv", csv_rows, as_csv),
    "coco images": ("coco", coco_rows, as_coco),
    "coco annotations": ("coco", annotation_rows, as_annotations),
    "annotations": ("label-studio", task_rows, as_tasks),
    "json-min": ("label-studio", flat_rows, as_list),
}


def read(folder: Path, reader: str, content: bytes) -> list[Row]:
    path = folder / FILE[reader]
    path.write_bytes(content)
    return READERS[reader](path, CLASSES, KIND).rows


def images_of(rows: list[Row]) -> dict[str, tuple[str | None, str | None]]:
    """The label of each image, and why it has none."""
    return {str(row.image): (row.label, row.reason) for row in rows if row.image}


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, int, str, Any, Any]:
    """A kind of file, a row of it, what was changed, the value in its place, and the row."""
    kind = draw(st.sampled_from(sorted(FILES)))
    number = draw(st.integers(0, COUNT - 1))
    row: Any = FILES[kind][1]()[number]
    field = draw(st.sampled_from([*row, "the row"]))
    value = draw(st.sampled_from([one for one in VALUES if one != row.get(field)]))
    if field == "the row":
        row = value
    elif draw(st.booleans()):
        row[field] = value
    else:
        value = None
        del row[field]
    return kind, number, field, value, row


@given(broken())
def test_one_broken_row_spoils_no_other(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, int, str, Any, Any]
) -> None:
    kind, number, field, value, row = case
    if kind == "csv" and isinstance(value, str) and "\ud800" in value:
        return  # no text in UTF-8: the file is refused, with the line
    reader, make, write = FILES[kind]
    folder = tmp_path_factory.mktemp("broken")
    whole = make()
    before = images_of(read(folder, reader, write(whole)))
    after = read(folder, reader, write([*whole[:number], row, *whole[number + 1 :]]))
    others = {name: one for name, one in images_of(after).items() if name in before}
    ids = {str(row.get("image_id", row.get("id")))} if isinstance(row, dict) else set()
    for n in NUMBERS:
        if n != number and str(n) not in ids:  # an id that another row has, too, spoils both
            assert others.get(name_of(n)) == before[name_of(n)], (kind, field, value)
    refused = [one for one in after if one.reason]
    assert all(one.where and one.detail for one in refused)
    same = others.get(name_of(number)) == before[name_of(number)]
    if same and not refused and kind != "csv":
        assert field in OF_NO_HARM | {
            "id",
            "completed_by",
            "annotator",
            "was_cancelled",
            "ground_truth",
            "updated_at",
            "created_at",
        }, (kind, field, value)


def test_letters_of_a_text_are_no_choices(tmp_path: Path) -> None:
    region = {**annotation(1)["result"][0], "value": {"choices": "0"}}
    rows = task_rows()
    rows[2]["result"] = [region]
    after = read(tmp_path, "label-studio", as_tasks(rows))
    assert [(row.where, row.reason) for row in after if row.reason] == [("task 2", "MALFORMED")]
    flat: list[Any] = flat_rows()
    flat[3]["label"] = {"choices": "0"}
    after = read(tmp_path, "label-studio", as_list(flat))
    assert [(row.where, row.reason) for row in after if row.reason] == [("task 3", "MALFORMED")]


@pytest.mark.parametrize(
    "line",
    ['x.png,"cat', '"x.png,cat', 'x.png,"cat"x', '"x.png', "x.png", "x.png,cat,dog,x,y,z,z",
     "x.png,\"" + "cat" * 100_000, '"', "x.png,cat\0,,,"],
    ids=["open", "open-first", "after", "alone", "few", "many", "long", "quote", "nul"],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 3, COUNT - 1])
def test_a_quote_that_is_not_closed_spoils_one_line(tmp_path: Path, line: str, place: int) -> None:
    rows: list[Any] = csv_rows()
    before = images_of(read(tmp_path, "csv", as_csv(rows)))
    rows[place] = line
    after = read(tmp_path, "csv", as_csv(rows))
    same = {name: one for name, one in images_of(after).items() if before.get(name) == one}
    assert set(same) == set(before) - {name_of(place)}
    [spoilt] = [row for row in after if images_of([row]).items() - before.items() or row.reason]
    assert spoilt.where == f"line {place + 2}"


def test_lines_with_open_quotes_take_linear_work(tmp_path: Path) -> None:
    rows = read(tmp_path, "csv", b"image,label\n" + b'"a.png,cat\n' * 2_000)
    assert len(rows) == 2_000 and {row.reason for row in rows} == {"MALFORMED"}


@pytest.mark.parametrize("reader", ["coco", "label-studio"])
def test_json_that_is_cut_is_one_refusal_with_line_and_column(tmp_path: Path, reader: str) -> None:
    content = as_tasks(task_rows()) if reader == "label-studio" else as_coco(coco_rows())
    with pytest.raises(ValueError, match=r"a\.json is no JSON.*line 1 column \d+"):
        read(tmp_path, reader, content[:-9])


def test_an_entry_that_is_no_object_is_named_by_its_place(tmp_path: Path) -> None:
    tasks = [*json.loads(as_tasks(task_rows())), 7, None]
    rows = read(tmp_path, "label-studio", as_list(tasks))
    assert [row.where for row in rows if row.reason] == [
        f"the file [{COUNT}]",
        f"the file [{COUNT + 1}]",
    ]
    whole = json.loads(as_coco(coco_rows()))
    whole["images"].append(["a"])
    whole["categories"].append({"id": True, "name": "cat"})
    rows = read(tmp_path, "coco", json.dumps(whole).encode())
    assert [row.where for row in rows if row.reason] == ["images[6]", "categories[4]"]


@pytest.mark.parametrize(
    "name", ["//[", "file://[x/0.png", "a" * 5_000, "a/" * 3_000, "/data/upload/" + "a/" * 2_000,
             "x\0.png", "\udc80.png", "../0.png", "http://[", "/data/local-files/?d=//[", "."]
)  # fmt: skip
def test_an_image_name_that_is_none_refuses_its_row_alone(tmp_path: Path, name: str) -> None:
    house = make_house(tmp_path / "workspace", *CLASSES)
    put_pictures(tmp_path, *map(name_of, NUMBERS))
    rows = flat_rows()
    rows[2]["image"] = name
    (tmp_path / "a.json").write_bytes(as_list(rows))
    result = house.take(tmp_path / "a.json")
    assert result["new"] == COUNT - 1 and sum(result["refused"].values()) == 1
    assert "task 2" in result["problems"][0]
