"""Label Studio's export files as answers, and our labels as tasks that it imports."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.kinds import KINDS
from labeling.studio.export_file import ExportedAnswer, exported_answers, exported_task

KIND = KINDS["classification"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def read(*entries: Any) -> list[ExportedAnswer]:
    return exported_answers(
        list(entries), KIND, classes=["cat", "dog"], value_fields=("label", "choice")
    )


def task(**annotation: Any) -> dict[str, Any]:
    made = exported_task(
        3, KIND, "cat", image="a b.png", fields={"sample_id": "f"}, email="ann@x.org",
        answered_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    made["annotations"][0] |= annotation
    return made


def test_a_task_that_was_written_is_read():
    assert read(task()) == [
        ExportedAnswer("task 3", "/data/local-files/?d=a%20b.png", "f", "answer", "cat",
                       "ann@x.org", "2026-01-02T03:04:05Z")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "kind", "value"),
    [({"was_cancelled": True}, "skip", None), ({"ground_truth": True}, "verdict", "cat")],
)
def test_a_skip_has_no_value_and_ground_truth_is_the_final_word(annotation, kind, value):
    (answer,) = read(task(**annotation))
    assert (answer.kind, answer.value) == (kind, value)


def test_in_json_min_the_field_with_classes_is_the_value():
    row = {"id": 1, "image": "a.png", "animal": "dog", "annotator": 7, "lead_time": 2.5}
    answer, left = read(row, "no task")
    assert (answer.value, answer.user, answer.lead_time) == ("dog", 7, 2.5)
    assert (left.where, left.reason) == ("the file [1]", "MALFORMED")


@given(JSON)
def test_whatever_a_file_holds_it_is_read_or_left_aside(entries):
    exported_answers(entries, KIND, classes=["cat"], value_fields=("label",))
