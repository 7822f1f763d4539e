"""The steps of the loop, each as a function that may be killed and run again."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from starlette.testclient import TestClient

from flows import collect_labels, ingest_images, label_round, retrain
from labeling import simulation
from labeling.batches.select import SelectionConfig
from labeling.ledger import rounds
from labeling.snapshots.publish import SnapshotConfig
from labeling.studio import client
from models.judging.verdict import GatePolicy
from models.network.network import NetworkConfig
from models.registry.versions import models
from models.serving import prediction_store, service
from models.training.config import TrainConfig
from tasks.context import open_context
from tasks.demo import digits
from tasks.ingest import adopt_traffic
from tasks.label.choose import studio_address
from tasks.operate.release import release_by_hand
from tests.system.world import PEOPLE, make_world

Annotators = Literal["label-studio", "simulated"]
TRAIN = TrainConfig(epochs=1, min_steps=2, batch_size=16, precision="fp32")
IMAGES, SERVED = 60, 6
ACKNOWLEDGED = "acknowledged.jsonl"  # in the workspace, to be copied with it: what clients know


def prepare(home: Path) -> None:
    """A workspace in `home`, images to ingest and others to be served."""
    workspace = make_world(home, images=IMAGES)
    os.environ |= {"HONE_WORKSPACE": str(workspace.root), "HONE_THREADS": "1"}
    chosen = digits.load_digits(seed=0)[0][IMAGES : IMAGES + SERVED]
    digits.write_digits(home / "served", chosen)
    everything = digits.load_digits(seed=0)[0][: IMAGES + SERVED]
    truths = digits.truth_table(everything)
    simulation.save_simulation(workspace.root, truths, PEOPLE, seed=0)


def ingest(home: Path) -> None:
    """Take in the images."""
    ingest_images.ingest_images([str(home / "images")], processes=1)


def label(number: int, home: Path, annotators: Annotators = "label-studio") -> None:
    """Choose a batch and send it."""
    selection = SelectionConfig(strategy="margin", size=16, audit_share=0.5 if number == 1 else 0.0)
    label_round.label_round(f"round-{number:04d}", selection, annotators=annotators)


def answer(home: Path) -> None:
    """Somebody answers in Label Studio all that nobody answered yet."""
    ctx = open_context()
    truths = simulation.load_simulation(ctx.workspace.root)[0]
    with ctx.engine.connect() as connection:
        waiting = rounds.open_assignments(connection)
    with client.connect(**studio_address(ctx)) as studio:
        studio.project(ctx.workspace)
        for row in waiting.itertuples():
            result = studio.kind.result_of(truths[str(row.sample_id)])
            studio.client.annotations.create(id=int(str(row.external_id)), result=result)


def collect(home: Path, annotators: Annotators = "label-studio") -> None:
    """Fetch the answers, settle and freeze them."""
    collect_labels.collect_labels(annotators, snapshot=SnapshotConfig())


def train(home: Path) -> None:
    """Train a model and judge it; a person releases it."""
    gate = GatePolicy(min_rows=4)
    retrain.retrain("snapshot-0001", NetworkConfig(), TRAIN, gate, approval="person")


def release(home: Path) -> None:
    """Put the model into service and package it."""
    with open_context().engine.connect() as connection:
        version = connection.scalars(select(models.c.version)).one()
    release_by_hand(version, who="ann", why="the first model")


def serve(home: Path) -> None:
    """Answer requests by the service, without BentoML's processes; clients repeat what failed.

    What was answered is not asked for again: a record of it that is lost stays lost.
    """
    hone = service.Hone()
    journal = home / "workspace" / ACKNOWLEDGED
    answered = journal.read_text() if journal.exists() else ""
    with TestClient(service.app) as sender, journal.open("a", buffering=1) as acknowledged:
        for path in sorted((home / "served").iterdir()):
            if path.name in answered:
                continue
            given: dict[str, Any] = {"headers": {"X-Request-ID": f"request-{path.stem}"}}
            given["files"] = [("images", (path.name, path.read_bytes()))]
            reply = sender.post("/predict", **given)
            assert reply.status_code == 200, reply.text
            (prediction,) = reply.json()["predictions"]
            acknowledged.write(json.dumps(prediction) + "\n")
    hone.end()


def drain(home: Path) -> None:
    """Copy what was served into the database."""
    ctx = open_context()
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)


def adopt(home: Path) -> None:
    """Make samples of what was served."""
    adopt_traffic()


STEPS: dict[str, Callable[[Path], None]] = {
    "ingest": ingest,
    "label": partial(label, 1),
    "collect": collect,
    "retrain": train,
    "release": release,
    "serve": serve,
    "drain": drain,
    "adopt": adopt,
    "label-again": partial(label, 2),
}
SERVERS = {"serve"}  # whose work is done by several threads


def forget_in_studio(step: str) -> None:
    """Undo what a labelling step did in Label Studio, so that it can be done once more."""
    ctx = open_context()
    with client.connect(**studio_address(ctx)) as studio:
        projects = [one for one in studio.client.projects.list() if _is_ours(one, ctx.workspace)]
        for project in projects:
            if step == "label":
                studio.client.projects.delete(project.id)
            else:
                for task in studio.client.tasks.list(project=project.id, fields="all"):
                    if task.data["round"] == "round-0002":
                        studio.client.tasks.delete(task.id)


def _is_ours(project: Any, workspace: Any) -> bool:
    return str(project.title) == client.wire.project_title(workspace.title)
