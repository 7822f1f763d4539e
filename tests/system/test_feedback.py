"""Feedback to the service as its users run it: `bentoml serve` with two workers."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from core.locks import only_writer
from labeling.ledger.tables import answers
from models.serving.feedback_records import fields_of_record
from models.serving.prediction_store import drain
from models.serving.segment_reader import Record, scan
from models.watching.feedback_spool import drain_spool
from models.watching.outcome_queries import judged_rows
from models.watching.outcome_tables import outcomes
from models.watching.outcomes import ClassNames
from tasks.demo import servers
from tests.models.saved_models import CLASSES, make_workspace, png, put_in_service, save
from tests.system.test_service import TWO_WORKERS, Running, send, status
from tests.system.world import as_json, hone

pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service of the repository, two workers."""
    workspace, engine = make_workspace(tmp_path_factory.mktemp("feedback") / "workspace")
    with (workspace.root / "hone.toml").open("a") as file:
        file.write("[audit]\nshare = 0.0001\n")  # none of the images is asked blind
    put_in_service(engine, save(workspace, engine))
    environment = {"HONE_WORKSPACE": str(workspace.root), **TWO_WORKERS}
    with servers.bentoml(REPOSITORY, tmp_path_factory.mktemp("serve"), environment) as server:
        yield Running(server.url, workspace, engine)


def give(url: str, rows: Any, request_id: str | None = None) -> httpx.Response:
    headers = {"X-Request-ID": request_id} if request_id else {}
    return httpx.post(f"{url}/feedback", json=rows, headers=headers, timeout=60)


def truth(prediction_id: str, value: str, **more: str) -> dict[str, str]:
    confirmed = {"who": "ada", "strength": "confirmed", **more}
    return {"prediction_id": prediction_id, "truth": value, **confirmed}


def take_in(running: Running) -> None:
    drain(running.engine, running.workspace.traffic)
    with only_writer(running.engine, "feedback") as token:
        drain_spool(running.engine, token, running.workspace.traffic, ClassNames(CLASSES))


def test_a_truth_is_joined_with_the_answer_that_it_is_about(running: Running) -> None:
    answered = send(running.url, png(1), png(2)).json()["predictions"]
    rows = [truth(answer["prediction_id"], "eel") for answer in answered]
    given = give(running.url, [*rows, {"truth": "eel"}])
    assert (given.status_code, given.json()["recorded"]) == (200, 2)
    assert given.json()["outcomes"][2]["error"]["position"] == 2
    take_in(running)
    with running.engine.connect() as connection:
        joined = judged_rows(connection, answered[0]["model"])
    assert joined["label"].tolist() == [answer["label"] for answer in answered]
    assert joined["truth"].tolist() == ["eel", "eel"]


def test_the_watch_takes_truths_in_and_confirmed_ones_become_answers(running: Running) -> None:
    [answer] = send(running.url, png(3)).json()["predictions"]
    assert give(running.url, truth(answer["prediction_id"], "dog")).status_code == 200
    watched = hone(running.workspace, "watch")
    assert "feedback: " in watched.stdout
    shown = as_json(hone(running.workspace, "performance", "--json"))
    assert shown["model"] == answer["model"] and shown["whole"]["rows"] >= 1
    with running.engine.connect() as connection:
        given = select(answers.c.value).where(
            answers.c.sample_id == answer["sample_id"], answers.c.annotator == "feedback:ada"
        )
        assert connection.scalars(given).all() == ["dog"]


def test_only_bad_truths_and_other_bodies_are_refused(running: Running) -> None:
    assert give(running.url, {"prediction_id": "7"}).status_code == 400
    assert httpx.post(f"{running.url}/feedback", data={"truth": "cat"}).status_code == 415
    assert httpx.get(f"{running.url}/feedback").status_code == 405


def test_a_worker_killed_under_load_loses_no_truth_that_it_answered(running: Running) -> None:
    """Every acknowledged outcome is stored once, also those of requests that were sent again."""
    acknowledged: dict[str, str] = {}
    lost: list[tuple[str, dict[str, str]]] = []
    ended = threading.Event()

    def load(client: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            request_id, row = f"load-{client}-{number}", truth(f"{client:016x}{number:016x}", "cat")
            try:
                response = give(running.url, row, request_id)
            except httpx.TransportError:
                lost.append((request_id, row))
                continue
            if response.status_code == 200:
                acknowledged[request_id] = response.json()["outcome_id"]

    threads = [threading.Thread(target=load, args=(client,)) for client in range(1, 4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 60:
        time.sleep(0.01)
    os.kill(status(running.url)["worker"], signal.SIGKILL)
    while len(acknowledged) < 180:
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join()
    for request_id, row in lost:
        again = [give(running.url, row, request_id).json()["outcome_id"] for _ in range(2)]
        assert again[0] == again[1]
        acknowledged[request_id] = again[0]
    written = [
        part.fields["outcome_id"]
        for path in (running.workspace.traffic / "feedback").glob("*.seg")
        for part in scan(path, fields_of=fields_of_record)
        if isinstance(part, Record)
    ]
    assert set(acknowledged.values()) <= set(written)
    take_in(running)
    take_in(running)
    with running.engine.connect() as connection:
        stored = connection.scalars(select(outcomes.c.outcome_id)).all()
    assert len(stored) == len(set(stored)) == len(set(written))
    assert set(acknowledged.values()) <= set(stored)
