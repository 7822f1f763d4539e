"""A label file is untrusted: any content ends in rows or a named refusal, in linear work."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.moments import moment
from labeling.formats import READERS
from labeling.formats.rows import LabelFile, seconds
from labeling.kinds import KINDS
from tests.counted_work import lines_run

CLASSES = ["cat", "dog"]
LINES_PER_BYTE, LINES = 30, 5_000  # of Python that a reader runs


def read(name: str, content: bytes) -> tuple[LabelFile | ValueError, int]:
    """The rows or the refusal of a file, and the lines that its reader ran."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        path.write_bytes(content)

        def act() -> LabelFile | ValueError:
            try:
                return READERS[name](path, CLASSES, KINDS["classification"])
            except ValueError as refusal:
                return refusal

        result, lines = lines_run(act)
    assert isinstance(result, LabelFile | ValueError)
    return result, lines


def coco(images: list[Any], annotations: list[Any], names: Sequence[str] = ("cat",)) -> bytes:
    categories = [{"id": 1, "name": name} for name in names]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(whole).encode()


MANY = 1_000
NUMBERED = [{"id": number, "file_name": "a"} for number in range(MANY)]
CHOSEN = [{"image_id": number, "category_id": 1} for number in range(MANY)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("coco", coco([{"id": 1, "file_name": "a"}] * MANY, [{"image_id": 1}] * MANY)),
        ("coco", coco([{"id": 1, "file_name": "a"}], [{"image_id": 1, "category_id": 7}] * MANY)),
        ("coco", coco(NUMBERED, CHOSEN, [f"name-{number}" for number in range(MANY)])),
        ("label-studio", json.dumps([{"image": "a", f"{n}": "x"} for n in range(MANY)]).encode()),
        ("csv", b"image,label" + b",x" * MANY + b"\n" + b"," * MANY),
        ("csv", b"image,label\n" + b"a,b\n" * MANY),
    ],
    ids=["same-id", "unknown-categories", "names-of-one-id", "fields", "columns", "lines"],
)
def test_a_hostile_label_file_is_read_in_linear_work(name: str, content: bytes) -> None:
    result, lines = read(name, content)
    assert isinstance(result, LabelFile)
    assert lines <= LINES + LINES_PER_BYTE * len(content)


@pytest.mark.parametrize("name", ["coco", "label-studio"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"[" + b"9" * 5_000 + b"]", b"\xff", b"{"])
def test_what_no_json_parser_takes_is_refused_with_the_file_named(
    name: str, content: bytes
) -> None:
    result, _ = read(name, content)
    assert isinstance(result, ValueError) and "labels" in str(result)


def test_a_time_at_the_edge_of_the_calendar_is_refused() -> None:
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(ValueError, match="years"):
            moment(time)


def test_a_duration_of_hundreds_of_digits_is_none() -> None:
    assert seconds(10**400) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["cat", "0001-01-01T00:00:00+14:00", 10**400, "images", "annotations"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(
            ["id", "image_id", "category_id", "categories", "images", "annotations", "name", "data",
             "result", "value", "choices", "type", "completed_by", "updated_at", "lead_time",
             "file_name", "image", "sample_id", "was_cancelled", "x"]
        ), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["coco", "label-studio"]), values, values, values)
def test_any_json_ends_in_rows_or_a_refusal(name: str, one: Any, two: Any, three: Any) -> None:
    shapes: list[Any] = [
        one,
        [one, two],
        {"images": [one, {"id": 1}], "annotations": [two], "categories": [three]},
        [{"data": one, "annotations": [{"result": [two]}, three]}],
    ]
    for shape in shapes:
        content = json.dumps(shape).encode()
        _, lines = read(name, content)
        assert lines <= LINES + LINES_PER_BYTE * len(content)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"image,label\n", b"sample_id;label;answered_at\n", b"\xef\xbb\xbf"]),
    st.lists(
        st.sampled_from([b",", b";", b"\n", b'"', b"\r", b"\0", b"cat"]) | st.binary(max_size=6)
    ),
)
def test_any_table_ends_in_rows_or_a_refusal(header: bytes, cells: list[bytes]) -> None:
    content = header + b"".join(cells)
    _, lines = read("csv", content)
    assert lines <= LINES + LINES_PER_BYTE * len(content)
