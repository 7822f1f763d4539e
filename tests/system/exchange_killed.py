"""A push or a pull, killed between two of its requests: `python -m tests.system.exchange_killed`.

Each attempt is a fork of one process that has imported everything. It is killed by SIGKILL when it
has got the reply to its Nth request, then the whole is run again, and the end is looked at. N goes
through points drawn at random, of all the requests that an uninterrupted attempt makes.
"""

import json
import random
import shutil
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from core.database import connect
from core.hone_toml import LabelClass
from core.locks import only_writer
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.ledger.answers import record_answers
from labeling.ledger.watermarks import watermark_of
from labeling.studio import client as exchange
from labeling.studio import protocol as wire
from labeling.studio.project import PROJECT_FILE
from settings import Settings
from tests.labeling.databases import make_engine
from tests.labeling.studio.outgoing import outgoing
from tests.system.forks import die_after_replies, in_a_fork

CLASSES = [LabelClass("cat", "1"), LabelClass("dog", "2")]
POINTS = 12  # random_kills.py draws more, in whole steps


def sample(number: int) -> str:
    """The name of a sample."""
    return f"{number:064x}"


def batch_of(numbers: range, round_id: str) -> pd.DataFrame:
    """A batch in which every fourth sample is for two people and every fifth shows no guess."""
    rows = [
        {
            "sample_id": sample(n),
            "file": f"images/{n}.png",
            "pre_annotation": "cat",
            "confidence": 0.5 + n / 1000,
            "pre_annotation_model": f"m-{round_id}",
            "round_id": round_id,
            "required_annotators": 2 if n % 4 == 0 else 1,
            "blind": n % 5 == 0,
        }
        for n in numbers
    ]
    return outgoing(rows)


def studio_at() -> Any:
    """Label Studio as the environment names it."""
    settings = Settings()
    assert settings.label_studio_url and settings.label_studio_api_key
    return exchange.connect(
        settings.label_studio_url, settings.label_studio_api_key.get_secret_value()
    )


def access() -> dict[str, str]:
    """The header that lets us in."""
    key = Settings().label_studio_api_key
    return {"Authorization": f"Token {key.get_secret_value() if key else ''}"}


def workspace_at(folder: Path) -> Workspace:
    """A workspace without anything in it."""
    folder.mkdir(parents=True, exist_ok=True)
    return Workspace(folder, "Killed", "Nothing lost", tuple(CLASSES), image_size=32)


def import_all() -> None:
    """Import once, here, what the client imports when it is first asked for."""
    with studio_at() as studio:
        client = studio.client
        client.projects.list(page_size=1)
        assert client.tasks and client.actions and client.views and client.users
        assert client.annotations and client.import_storage.local


def attempt(work: Any, folder: Path, deadly: int, count_in: Path) -> None:
    """Do the work, to be killed after so many replies; note how many it took in all."""
    made = die_after_replies(deadly)
    work(folder)
    count_in.write_text(json.dumps(made))


def push(folder: Path) -> None:
    """Two rounds; the second asks anew for what nobody answered in the first."""
    with studio_at() as studio:
        studio.project(workspace_at(folder))
        studio.assign(batch_of(range(8), "round-0001"))
        studio.show_tabs([("round-0001", False)])
        studio.assign(batch_of(range(6, 12), "round-0002"))
        studio.show_tabs([("round-0001", False), ("round-0002", False)])


def pushed(folder: Path) -> dict[str, Any]:
    """What people find in Label Studio, without what differs between two projects."""
    note = json.loads((folder / PROJECT_FILE).read_text())
    with studio_at() as studio, httpx.Client(base_url=studio.url, headers=access()) as line:
        studio.project(workspace_at(folder))
        here = {"project": studio.project_id}
        everything = {**here, "fields": "all", "page_size": 1000}
        every = line.get("/api/projects", params={"page_size": 1000}).json()["results"]
        found = line.get(f"/api/projects/{studio.project_id}").json()
        tasks = line.get("/api/tasks", params=everything).json()["tasks"]
        views = line.get("/api/dm/views", params=here).json()
        local = line.get("/api/storages/localfiles", params=here).json()
    told = ("title", "label_config", "sampling", "model_version", "expert_instruction")
    return {
        "projects": sum(note["mark"] in (one["description"] or "") for one in every),
        "project": [found[name] for name in told],
        "tasks": sorted((_shown(task) for task in tasks), key=lambda task: task[0]["sample_id"]),
        "tabs": [[view["data"].get(part) for part in ("title", "filters")] for view in views],
        "folders": [storage["path"].rpartition("/")[2] for storage in local],
    }


def _shown(task: dict[str, Any]) -> list[Any]:
    told = ("model_version", "score", "result")
    guesses = [[guess[name] for name in told] for guess in task["predictions"]]
    return [task["data"], task["overlap"], guesses]


def prepare_pull(folder: Path) -> None:
    """Answers that were pulled once, and what people did since: gave, changed, skipped, deleted."""
    numbers = range(30)
    make_engine(folder, [sample(number) for number in numbers]).dispose()
    with studio_at() as studio:
        number = studio.project(workspace_at(folder))
        tasks = wire.tasks_of(
            batch_of(numbers, "round-0001"), ["cat", "dog"], KINDS["classification"]
        )
        for task in tasks[:12]:
            task["annotations"] = [{"result": _chose("cat"), "ground_truth": False}]
        studio.client.projects.import_tasks(number, request=tasks)
    pull(folder)
    with studio_at() as studio:
        studio.project(workspace_at(folder))
        given = studio.client.annotations
        for key, task in sorted(studio.present([sample(number) for number in numbers]).items()):
            n = int(key, 16)
            before = given.list(id=task) if n < 9 else []
            if n < 3:
                given.update(id=before[0].id, result=_chose("dog"))
            elif n < 6:
                given.delete(id=before[0].id)
            elif n < 9:
                given.create(id=task, result=_chose("dog"))
            elif n >= 20:
                chosen = ["dog", "zebra"][n % 2]
                given.create(id=task, result=_chose(chosen), was_cancelled=n % 3 == 0)
    with studio_at() as studio:  # the same samples once more, so that answers stand on two tasks
        number = studio.project(workspace_at(folder))
        studio.client.projects.import_tasks(number, request=asked_again())


def asked_again() -> list[dict[str, Any]]:
    """A few samples of the first round in a second one, answered there."""
    tasks = wire.tasks_of(
        batch_of(range(9, 14), "round-0002"), ["cat", "dog"], KINDS["classification"]
    )
    return [
        {**task, "annotations": [{"result": _chose("dog"), "ground_truth": False}]}
        for task in tasks
    ]


def _chose(name: str) -> list[dict[str, Any]]:
    return KINDS["classification"].result_of(name)


def pull(folder: Path) -> None:
    """What `hone collect` does first: read from the watermark on, and record."""
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    with only_writer(engine, "answers") as token, studio_at() as studio:
        studio.project(workspace_at(folder))
        with engine.connect() as connection:
            since = watermark_of(connection, studio.source)
        found = studio.answers_since(since)
        record_answers(
            engine, token, found.answers, source=studio.source, read=found.read,
            refused=found.refused, classes=["cat", "dog"], watermark=found.watermark,
        )  # fmt: skip
    engine.dispose()


def pulled(folder: Path) -> dict[str, Any]:
    """What the ledger says, without when we saw it."""
    wanted = {
        "answers": "SELECT source, external_id, sample_id, annotator, kind, value, round_id, "
        "updated_at, digest, replaced_at IS NULL FROM answers ORDER BY seq",
        "refused": "SELECT source, external_id, sample_id, annotator, reason, detail "
        "FROM refused_answers ORDER BY external_id, digest",
        "watermarks": "SELECT name, value FROM watermarks",
    }
    with sqlite3.connect(folder / "hone.sqlite") as ledger:
        return {name: ledger.execute(query).fetchall() for name, query in wanted.items()}


def kill_pushes(home: Path) -> None:
    """Push into a project of its own each time."""
    in_a_fork(partial(attempt, push, home / "whole", 0, home / "made.json"))
    made, whole = json.loads((home / "made.json").read_text()), pushed(home / "whole")
    for point in points(len(made)):
        folder = home / str(point)
        assert in_a_fork(partial(attempt, push, folder, point, home / "never.json")) == 9
        in_a_fork(partial(attempt, push, folder, 0, home / "again.json"))
        same(pushed(folder), whole, f"push killed after request {point}, {made[point - 1]}")
    print(json.dumps({"requests": len(made), "kills": len(points(len(made))), "end": whole}))


def kill_pulls(home: Path) -> None:
    """Pull the same answers into a copy of the same ledger each time."""
    base = home / "base"
    base.mkdir(parents=True)
    in_a_fork(partial(prepare_pull, base))
    shutil.copytree(base, home / "whole")
    in_a_fork(partial(attempt, pull, home / "whole", 0, home / "made.json"))
    made, whole = json.loads((home / "made.json").read_text()), pulled(home / "whole")
    for point in points(len(made)):
        folder = home / str(point)
        shutil.copytree(base, folder)
        assert in_a_fork(partial(attempt, pull, folder, point, home / "never.json")) == 9
        in_a_fork(partial(attempt, pull, folder, 0, home / "again.json"))
        same(pulled(folder), whole, f"pull killed after request {point}, {made[point - 1]}")
    print(json.dumps({"requests": len(made), "kills": len(points(len(made))), "end": whole}))


def points(requests: int) -> list[int]:
    """After which requests it is killed: at random, each once."""
    return sorted(random.Random(0).sample(range(1, requests + 1), min(POINTS, requests)))


def same(found: dict[str, Any], wanted: dict[str, Any], when: str) -> None:
    """Stop when the end differs from the uninterrupted one."""
    for what, value in wanted.items():
        if found[what] != value:
            raise SystemExit(f"{when}: {what} is\n{found[what]}\nand should be\n{value}")


if __name__ == "__main__":
    import_all()
    exchange.BATCH = exchange.KEYS = exchange.PAGE = 4
    exchange.OVERLAP = 0.0
    exchange.SCANNED = 0
    way, where = sys.argv[1:]
    {"push": kill_pushes, "pull": kill_pulls}[way](Path(where))
