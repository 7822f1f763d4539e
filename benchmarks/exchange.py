"""What does the exchange with Label Studio cost beside bare requests with the same JSON?

    .venv/bin/python benchmarks/exchange.py [--tasks 10000] [--rounds 2]

Starts a Label Studio server of its own (a minute: it migrates a new database) and puts so many
assignments out and takes so many answers back. `bare` is a bulk import of the same JSON in the same
batches, and a page by page reading, or the export, of the same project. The answers are planted by
an import, for a real one is a request of its own, at about four a second. The two ways take turns;
the table has the best of each, and its ratio to the fastest bare way of its direction. `again`
finds everything there already; `nothing new` reads what the import brought in its last seconds
once more. On a shared machine the ratios say more than the rates.
"""

import argparse
import hashlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from sqlalchemy import insert

from core.database import connect, now, upgrade, writing
from core.hone_toml import LabelClass
from core.locks import only_writer
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.ledger.answers import record_answers
from labeling.ledger.tables import samples
from labeling.studio import client as exchange
from labeling.studio import protocol as wire
from tasks.demo.annotator import find_command
from tasks.demo.servers import LabelStudioServer, label_studio

CLASSES = (LabelClass("cat", "1"), LabelClass("dog", "2"))


@dataclass(frozen=True)
class Turn:
    """One way, once: how long it took and how often it asked the server."""

    seconds: float
    requests: int


def main(count: int = 10_000, rounds: int = 2) -> None:
    """Take turns and print the table."""
    turns: dict[str, list[Turn]] = {}
    with tempfile.TemporaryDirectory(prefix="hone-exchange-") as made:
        home = Path(made)
        with label_studio(find_command(), home / "server", home / "desks") as server:
            for number in range(rounds):
                for name, turn in play(server, home / "desks" / str(number), count):
                    turns.setdefault(name, []).append(turn)
                    rate = count / turn.seconds
                    print(f"{name}: {turn.seconds:.1f} s, {rate:.0f}/s", flush=True)
    print_table(turns, count)


def play(server: LabelStudioServer, home: Path, count: int) -> Iterator[tuple[str, Turn]]:
    """Each way once, in projects of its own."""
    batch = batch_of(count)
    tasks = wire.tasks_of(batch, [one.name for one in CLASSES], KINDS["classification"])
    with project(server, home / "bare") as studio:
        yield "out: bare import", timed(lambda: import_all(server, studio.project_id, tasks))
    with project(server, home / "ours") as studio:
        yield "out: assign", timed(lambda: studio.assign(batch))
        yield "out: assign again", timed(lambda: studio.assign(batch))
    with project(server, home / "answered") as studio:
        yield "(planting)", timed(lambda: import_all(server, studio.project_id, answered(tasks)))
        yield "back: bare pages", timed(lambda: read_pages(server, studio.project_id))
        yield "back: bare export", timed(lambda: export(server, studio.project_id))
        yield "back: answers_since", timed(lambda: studio.answers_since(None))
        found = studio.answers_since(None)
        yield "back: nothing new", timed(lambda: studio.answers_since(found.watermark))
        with tempfile.TemporaryDirectory() as folder:
            yield "into the ledger", into_ledger(Path(folder), found)


def batch_of(count: int) -> pd.DataFrame:
    """A round as `label_round` sends it."""
    names = [hashlib.sha256(uuid.uuid4().bytes).hexdigest() for _ in range(count)]
    rows = {
        "sample_id": names,
        "file": [f"images/{name}.jpg" for name in names],
        "pre_annotation": "cat",
        "confidence": [0.5 + number / count / 2 for number in range(count)],
        "pre_annotation_model": "0001-benchmark",
        "round_id": "round-0001",
        "required_annotators": 1,
        "blind": False,
        "stage": "queue",
        "why": "the model is not sure what it is",
        "similar": None,
    }
    return wire.OUTGOING.check(pd.DataFrame(rows))


def answered(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same tasks with an answer each, as if somebody had given it."""
    answer = {"result": KINDS["classification"].result_of("dog"), "lead_time": 1.5}
    return [{**task, "annotations": [{**answer, "ground_truth": False}]} for task in tasks]


@contextmanager
def project(server: LabelStudioServer, home: Path) -> Iterator[exchange.Studio]:
    """A new project."""
    home.mkdir(parents=True)
    workspace = Workspace(home, home.name.title(), "Benchmark", CLASSES, image_size=32)
    with exchange.connect(server.url, server.api_key) as studio:
        studio.project(workspace)
        yield studio


def import_all(server: LabelStudioServer, project_id: int, tasks: list[dict[str, Any]]) -> None:
    """Nothing but the import."""
    with bare(server) as line:
        for start in range(0, len(tasks), exchange.BATCH):
            part = tasks[start : start + exchange.BATCH]
            line.post(f"/api/projects/{project_id}/import", json=part).raise_for_status()


def read_pages(server: LabelStudioServer, project_id: int) -> list[Any]:
    """Every task with its annotations, page by page, as a client that knows no better reads."""
    with bare(server) as line:
        found: list[Any] = []
        asked = {"project": project_id, "fields": "all", "page_size": exchange.PAGE}
        while True:
            page = line.get("/api/tasks", params={**asked, "page": len(found) // exchange.PAGE + 1})
            found += page.raise_for_status().json()["tasks"]
            if len(found) >= page.json()["total"]:
                return found


def export(server: LabelStudioServer, project_id: int) -> list[Any]:
    """The whole project at once."""
    with bare(server) as line:
        found = line.get(f"/api/projects/{project_id}/export", params={"exportType": "JSON"})
        return list(found.raise_for_status().json())


@contextmanager
def bare(server: LabelStudioServer) -> Iterator[httpx.Client]:
    """A line to the server and nothing more."""
    headers = {"Authorization": f"Token {server.api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=600) as line:
        yield line


def into_ledger(folder: Path, found: wire.Collected) -> Turn:
    """The answers as rows of a new ledger that knows their samples."""
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    upgrade(engine)
    with writing(engine) as connection:
        connection.execute(insert(samples), [sample_row(one) for one in sorted(found.read)])
    with only_writer(engine, "answers") as token:
        turn = timed(
            lambda: record_answers(
                engine,
                token,
                found.answers,
                source="label-studio:1",
                read=found.read,
                refused=found.refused,
                classes=[one.name for one in CLASSES],
                watermark=found.watermark,
            )
        )
    engine.dispose()
    return turn


def sample_row(sample_id: str) -> dict[str, Any]:
    """A sample without an image."""
    place = {"shard": "s.tar", "offset": 0, "length": 1, "stored_sha256": sample_id}
    looks = {
        "format": "PNG",
        "width": 8,
        "height": 8,
        "thumbnail": bytes(256),
        "group_id": sample_id,
    }
    return {"sample_id": sample_id, **place, **looks, "origin": "ingest", "added_at": now()}


def timed(work: Callable[[], Any]) -> Turn:
    """How long `work` takes, and the requests it makes."""
    send, asked = httpx.Client.send, []

    def counted(line: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        asked.append(request.url.path)
        return send(line, request, **more)

    httpx.Client.send = counted  # type: ignore[method-assign]
    try:
        begun = time.perf_counter()
        work()
        return Turn(time.perf_counter() - begun, len(asked))
    finally:
        httpx.Client.send = send  # type: ignore[method-assign]


def print_table(turns: dict[str, list[Turn]], count: int) -> None:
    """The best of each way, beside the fastest bare one of its direction."""
    best = {name: min(found, key=lambda turn: turn.seconds) for name, found in turns.items()}
    bare_seconds: dict[str, float] = {}
    for name, turn in best.items():
        direction, _, way = name.partition(": ")
        if way.startswith("bare"):
            known = bare_seconds.get(direction, turn.seconds)
            bare_seconds[direction] = min(known, turn.seconds)
    print(f"\n{'':<22}{'seconds':>9}{'a second':>10}{'requests':>10}{'to bare':>9}")
    for name, turn in best.items():
        base = bare_seconds.get(name.partition(": ")[0])
        ratio = f"{turn.seconds / base:>9.2f}" if base else ""
        rate = f"{count / turn.seconds:>10.0f}"
        print(f"{name:<22}{turn.seconds:>9.1f}{rate}{turn.requests:>10}{ratio}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    main(given.tasks, given.rounds)
