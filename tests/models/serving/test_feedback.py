"""`POST /feedback` without a server: bodies, refusals, and that answered means recorded."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from models.serving.feedback import BODY_BYTES, FOLDER, ROUTES, ROWS, FeedbackRecorder, rows_of
from models.serving.feedback_records import fields_of_record
from models.serving.requests import RequestError
from models.serving.segment_reader import Record, scan

JSON = "application/json"
TRUTH = {"prediction_id": "7" * 32, "truth": "cat"}


def post(recorder: Any, content: Any, **headers: str) -> httpx.Response:
    """The answer of the app around one request."""
    app = Starlette(routes=ROUTES)
    app.state.hone = SimpleNamespace(recorder=recorder)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
            return await client.post("/feedback", json=content, headers=headers)

    return asyncio.run(ask())


def recorded(folder: Path) -> list[dict[str, Any]]:
    """The fields of all records on disk."""
    return [
        part.fields
        for path in sorted((folder / FOLDER).glob("*.seg"))
        for part in scan(path, fields_of=fields_of_record)
        if isinstance(part, Record)
    ]


def test_one_truth_and_a_list_are_recorded_in_order(tmp_path):
    recorder = FeedbackRecorder(tmp_path)
    one = post(recorder, TRUTH, **{"X-Request-ID": "r1"})
    many = post(recorder, [TRUTH, {**TRUTH, "truth": "dog"}])
    assert (one.status_code, many.status_code) == (200, 200)
    assert one.json()["request_id"] == one.headers["X-Request-ID"] == "r1"
    assert [one.json()["recorded"], many.json()["recorded"]] == [1, 2]
    ids = [one.json()["outcome_id"], *(row["outcome_id"] for row in many.json()["outcomes"])]
    assert [row["outcome_id"] for row in recorded(tmp_path)] == ids
    assert [row["truth"] for row in recorded(tmp_path)] == ["cat", "cat", "dog"]


def test_a_bad_truth_is_refused_by_its_position_and_spoils_no_other(tmp_path):
    answer = post(FeedbackRecorder(tmp_path), [TRUTH, {"truth": "cat"}, 7, TRUTH])
    assert (answer.status_code, answer.json()["recorded"]) == (200, 2)
    errors = [row["error"] for row in answer.json()["outcomes"] if "error" in row]
    assert [(error["position"], error["reason"]) for error in errors] == [
        (1, "BAD_PREDICTION_ID"), (2, "MALFORMED"),
    ]  # fmt: skip
    assert len(recorded(tmp_path)) == 2


def test_only_bad_truths_are_400_and_nothing_is_recorded(tmp_path):
    answer = post(FeedbackRecorder(tmp_path), {"truth": "cat"})
    assert (answer.status_code, answer.json()["error"]["position"]) == (400, 0)
    assert recorded(tmp_path) == []


def test_a_retry_has_the_same_outcome_and_another_request_another(tmp_path):
    recorder = FeedbackRecorder(tmp_path)
    ids = [post(recorder, TRUTH, **{"X-Request-ID": name}).json()["outcome_id"] for name in "aab"]
    assert ids[0] == ids[1] != ids[2]


def test_a_disk_that_takes_no_record_is_503(tmp_path):
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    answer = post(FeedbackRecorder(tmp_path), TRUTH)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("kind", "body", "status", "reason"),
    [
        ("multipart/form-data; boundary=x", b"{}", 415, "NOT_JSON"),
        ("", b"{}", 415, "NOT_JSON"),
        (JSON, b"{", 400, "BAD_JSON"),
        (JSON, b"\xff", 400, "BAD_JSON"),
        (JSON, b"[" * 100_000, 400, "BAD_JSON"),
        (JSON, b"[]", 400, "NO_FEEDBACK"),
        (JSON, json.dumps([1] * (ROWS + 1)).encode(), 413, "TOO_MANY_ROWS"),
        (JSON, b" " * (BODY_BYTES + 1), 413, "BODY_TOO_LARGE"),
    ],
)
def test_a_body_that_is_no_feedback_is_refused_by_name(kind, body, status, reason):
    with pytest.raises(RequestError) as refused:
        rows_of(kind, body)
    assert (refused.value.status, refused.value.reason) == (status, reason)


def test_a_body_with_a_charset_and_one_of_the_most_rows_are_read():
    assert rows_of(f"{JSON}; charset=utf-8", b"{}") == ([{}], False)
    assert len(rows_of(JSON, json.dumps([1] * ROWS).encode())[0]) == ROWS
