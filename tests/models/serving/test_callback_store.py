"""Callbacks on record: each is drained once, also behind a damaged one, and waits longer."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from core.database import writing
from core.locks import only_writer
from labeling.ledger import tables
from models.serving.callback_store import (
    ATTEMPTS,
    MOST,
    MOST_OF_PREDICTION,
    MOST_OF_SERVER,
    DueCall,
    callback_counts,
    callbacks,
    calls_of,
    drain_callbacks,
    due_calls,
    record_call,
)
from models.serving.callbacks import FOLDER, callback_request
from models.serving.segments import SegmentWriter
from tests.labeling.databases import make_engine

URL = "https://hooks.example.com/hone/"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path, [])


def record(traffic: Path, *numbers: int, url: str = URL) -> Path:
    writer = SegmentWriter(traffic / FOLDER)
    made = [
        callback_request(url, {"prediction_id": f"{n:032x}", "sample_id": str(n)}) for n in numbers
    ]
    writer.append_parts([(json.dumps(asdict(one)).encode(), b"") for one in made])
    writer.close()
    return max((traffic / FOLDER).glob("*.seg"))


def drained(engine: Engine, traffic: Path) -> int:
    with only_writer(engine, "callbacks") as token:
        return drain_callbacks(engine, token, traffic)


def test_each_is_drained_once_also_behind_a_damaged_one(engine: Engine, tmp_path: Path) -> None:
    record(tmp_path, 1, 2)
    assert drained(engine, tmp_path) == 2
    path = record(tmp_path, 2, 3, 4)
    content = bytearray(path.read_bytes())
    content[content.index(b'"sample_id": "3"')] ^= 1
    path.write_bytes(content)
    assert drained(engine, tmp_path) == 1
    assert drained(engine, tmp_path) == 0
    with engine.connect() as connection:
        assert callback_counts(connection).waiting == 3


def test_calls_that_fail_wait_ever_longer_and_end(engine: Engine, tmp_path: Path) -> None:
    record(tmp_path, 1)
    drained(engine, tmp_path)
    waits = []
    for attempts in range(ATTEMPTS):
        with writing(engine) as connection:
            [row] = connection.execute(select(callbacks)).all()
            call = DueCall(row.callback_id, row.prediction_id, URL, attempts, "dog", 1.0, "2026")
            record_call(connection, call, "away")
            due_at = connection.scalar(select(callbacks.c.due_at))
        if due_at is not None:
            waits.append(datetime.fromisoformat(due_at) - datetime.now(UTC))
    assert waits == sorted(waits) and len(waits) == ATTEMPTS - 1
    assert timedelta(seconds=50) < waits[0] < timedelta(minutes=1)
    assert waits[-1] <= timedelta(hours=6)
    with engine.connect() as connection:
        assert vars(callback_counts(connection)) == {"waiting": 0, "delivered": 0, "given_up": 1}


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (None, None),
        ("the receiver answered 503", "the receiver answered 503"),
        ("ValueError: hooks.example.com is 10.0.0.5, of a private network", "not reached"),
        ("the address is no longer below one in HONE_CALLBACKS", "not listed"),
    ],
)
def test_a_reader_sees_neither_path_nor_network(
    engine: Engine, tmp_path: Path, error: str | None, shown: str | None
) -> None:
    record(tmp_path, 1, url="https://hooks.example.com:8443/hone/token?key=secret")
    drained(engine, tmp_path)
    with writing(engine) as connection:
        [row] = connection.execute(select(callbacks)).all()
        call = DueCall(row.callback_id, row.prediction_id, row.url, 0, "dog", 1.0, "2026")
        record_call(connection, call, error)
        [seen] = calls_of(connection, f"{1:032x}")
        assert connection.scalar(select(callbacks.c.error)) == error, "on record it is whole"
    assert (seen["url"], seen["error"]) == ("https://hooks.example.com:8443/", shown)


def test_a_server_with_many_labels_due_leaves_places_for_others(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [str(number) for number in range(302)])
    record(tmp_path, *range(0, 300, 2), url="https://dead.example.com/")
    record(tmp_path, *range(1, 300, 2), url="https://DEAD.example.com:443/")
    record(tmp_path, 300, 301)
    assert drained(engine, tmp_path) == 302
    settled = {"label": "dog", "trust": 1.0, "settled_at": "2026", "method": "m"}
    with writing(engine) as connection:
        rows = [{"sample_id": str(n), "annotators": ["ada"], **settled} for n in range(302)]
        connection.execute(insert(tables.labels), rows)
        calls = due_calls(connection)
    assert len(calls) == MOST
    assert [call.url for call in calls].index(URL) == MOST_OF_SERVER, "then those of the others"
    assert [call.url for call in calls].count(URL) == 2


def test_so_many_addresses_of_a_prediction_are_called_and_no_more(
    engine: Engine, tmp_path: Path
) -> None:
    for number in range(4):
        record(tmp_path, 1, 2, url=f"{URL}{number}")
    assert drained(engine, tmp_path) == 8
    for number in range(2, 9):
        record(tmp_path, 1, url=f"{URL}{number}")
    assert drained(engine, tmp_path) == MOST_OF_PREDICTION - 4
    with engine.connect() as connection:
        assert [one["attempts"] for one in calls_of(connection, f"{1:032x}")] == [0] * 5
        assert len(calls_of(connection, f"{2:032x}")) == 4
