"""Truths about served predictions: bodies, records of the spool, and files."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.serving.callbacks import callback_request, fields_of_callback, rule_for, rules_of
from models.serving.feedback import rows_of
from models.serving.feedback_records import (
    Feedback,
    FeedbackRefused,
    checked_feedback,
    fields_of_record,
    record_of,
)
from models.watching.feedback_file import read_feedback

Act = Callable[[bytes], object]
NOW = "2026-01-01T12:00:00.000000+00:00"
ROW = {"prediction_id": "7" * 32, "truth": "cat", "who": "ada", "source": "shop",
       "strength": "confirmed", "at": "2026-01-01T11:00:00Z"}  # fmt: skip


def bodies() -> list[bytes]:
    """One truth, and a list."""
    return [json.dumps(ROW).encode(), json.dumps([ROW, {**ROW, "strength": "weak"}]).encode()]


def body(folder: Path) -> Act:
    """A body of JSON: truths, or refusals with a reason."""

    def act(content: bytes) -> object:
        rows, _ = rows_of("application/json", content)
        for row in rows:
            try:
                made = checked_feedback(row, received_at=NOW, source="service")
            except FeedbackRefused as refused:
                assert refused.reason and refused.detail.encode()
            else:
                assert fields_of_record(record_of(made)) == vars(made)
        return None

    return act


def records() -> list[bytes]:
    """A record of the spool."""
    return [record_of(checked_feedback(ROW, received_at=NOW, source="service"))]


def record(folder: Path) -> Act:
    """The JSON of a record whose checksums are right."""

    def act(content: bytes) -> object:
        fields = fields_of_record(content)
        if fields is not None:
            assert record_of(Feedback(**fields)).decode()
        return None

    return act


def callback_records() -> list[bytes]:
    """What a client asked for: an address that gets a label."""
    answer = {"prediction_id": "7" * 32, "sample_id": "8" * 64}
    return [json.dumps(vars(callback_request("https://hooks.example.com/hone/7", answer))).encode()]


def callback(folder: Path) -> Act:
    """The JSON of a record, and its address as a header has it."""
    rules = rules_of("https://hooks.example.com/hone", "0123456789abcdef")

    def act(content: bytes) -> object:
        fields = fields_of_callback(content)
        if fields is not None and rule_for(fields["url"], rules):
            assert fields["url"].lower().startswith("https://hooks.example.com")
        return rule_for(content.decode("latin-1"), rules)

    return act


def tables() -> list[bytes]:
    """A CSV, with a letter in front, and a parquet file."""
    lines = [",".join(ROW), ",".join(ROW.values()), f"{'8' * 32},dog,,,weak,"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [value] * 2 for name, value in ROW.items()}), sink)
    return [b"c" + "\n".join(lines).encode(), b"p" + sink.getvalue().to_pybytes()]


def table(folder: Path) -> Act:
    """The rows of a file, each a truth or refused with its place."""

    def act(content: bytes) -> object:
        path = folder / ("truths.parquet" if content[:1] == b"p" else "truths.csv")
        path.write_bytes(content[1:])
        for part in read_feedback(path):
            for row in part:
                assert isinstance(row, Feedback) or row.where
        return None

    return act
