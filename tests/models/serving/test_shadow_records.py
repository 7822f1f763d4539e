"""Records of a trial: what is written is read, and what another program wrote is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest

from models.serving.shadow_records import (
    Live,
    ShadowAnswer,
    ShadowRecord,
    fields_of_record,
    record_of,
    shadow_record,
)

AT = "2026-01-01T00:00:00.000000+00:00"
ANSWER = ShadowAnswer("p", "s", "north", AT, "cat", False, "dog", 0.7, True)
RECORD = ShadowRecord(
    "0" * 32, 3, "hone:a", "hone:b", AT, 4, Live(5, 1), Live(), ((0.1, 0.25),), (ANSWER,)
)


def test_a_record_is_read_as_it_was_written() -> None:
    failed = replace(ANSWER, label=None, confidence=None, needs_review=None, error="no")
    for record in (RECORD, replace(RECORD, answers=(failed,)), replace(RECORD, timings=())):
        fields = fields_of_record(record_of(record))
        assert fields is not None
        assert shadow_record(fields) == record


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("record_id", "../../x"),
        ("release", -1),
        ("release", True),
        ("passed_over", 2**40),
        ("at", "yesterday"),
        ("champion", 7),
        ("champion_live", {"answered": -1, "failed": 0}),
        ("timings", [[0.1]]),
        ("timings", [[0.1, -1.0]]),
        ("answers", [{"prediction_id": "p"}]),
        ("answers", 3),
        ("more", 1),
    ],
)
def test_what_is_no_record_is_refused(name: str, value: Any) -> None:
    fields = json.loads(record_of(RECORD))
    assert fields_of_record(json.dumps({**fields, name: value}).encode()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("label", None), ("error", "x"), ("confidence", 1.5), ("served_review", 1), ("source", 3),
     ("served_at", "2026"), ("sample_id", "a\0b")],
)  # fmt: skip
def test_what_is_no_answer_is_refused(name: str, value: Any) -> None:
    fields = json.loads(record_of(RECORD))
    fields["answers"][0][name] = value
    assert fields_of_record(json.dumps(fields).encode()) is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b"[" * 10_000, b"null"])
def test_damaged_json_is_refused(text: bytes) -> None:
    assert fields_of_record(text) is None
