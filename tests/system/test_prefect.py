"""The deployments on a real server: `prefect deploy --all`, a worker, schedules and events."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.database import connect
from core.workspace import Workspace
from models.registry.versions import models
from tasks.demo.servers import Server
from tests.system.deployments import (
    ENDED,
    Deployed,
    call_api,
    deploy,
    emit_event,
    wait_for,
    working,
)
from tests.system.terminal import Hone, terminal
from tests.system.world import make_world

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]

READY = "hone.labels-ready"
FLOWS = [
    "check-workspace",
    "collect",
    "free-stuck-runs",
    "ingest",
    "label",
    "retrain",
    "review",
    "watch",
]
ROUND = {"strategy": "random", "size": 60, "audit_share": 0.5}


def test_the_deployments_run_on_demand_on_schedule_and_on_events(
    tmp_path: Path, prefect_server: Server
) -> None:
    workspace = make_world(tmp_path)
    deployed = deploy(workspace, prefect_server.url)
    check_deployments(deployed)
    with working(deployed, workspace):
        run_on_demand_beside_a_schedule(deployed, tmp_path / "images")
        run_a_round(deployed)
        with terminal(workspace, PREFECT_API_URL=prefect_server.url) as hone:
            make_two_snapshots_during_a_training(deployed, workspace, hone)
            deployed.run("watch")
            deployed.run("check-workspace")
            assert "every promise holds" in hone("fsck").stdout
    check_triggers(deployed, "hone.drift", ["label"])  # whose answers a training waits for
    check_triggers(deployed, "hone.retrain", ["retrain"])


def test_gold_alone_starts_no_training(tmp_path: Path, prefect_server: Server) -> None:
    workspace = make_world(tmp_path, images=12)
    gold = tmp_path / "gold" / "7"
    gold.mkdir(parents=True)
    for path in sorted((tmp_path / "images").rglob("*.png"))[:4]:
        path.rename(gold / path.name)

    def ready_events() -> int:
        events = {"filter": {"event": {"name": [READY]}}}
        return int(call_api(prefect_server.url, "events/filter", events)["total"])

    with terminal(workspace, PREFECT_API_URL=prefect_server.url) as hone:
        assert "4 new" in hone("import", str(gold.parent), "--gold").stdout
        before = ready_events()
        collected = hone("collect")
        reason = r"snapshot-0001 starts no training: none of the \d rows"
        assert re.search(reason, collected.stdout + collected.stderr)
        assert ready_events() == before
        trained = hone("retrain")
        reason = r"snapshot-0001 cannot be trained on: none of the \d rows"
        assert re.search(reason, trained.stdout + trained.stderr)


def check_deployments(deployed: Deployed) -> None:
    """Each flow has one, with a schedule and a single place."""
    assert sorted(deployed.by_name) == FLOWS
    for name, row in deployed.by_name.items():
        assert row["schedules"][0]["active"], name
        assert row["description"], name
        assert "hone" in row["tags"], name
        assert row["global_concurrency_limit"]["limit"] == 1, name
        assert row["concurrency_options"]["collision_strategy"] == "ENQUEUE", name


def run_on_demand_beside_a_schedule(deployed: Deployed, images: Path) -> None:
    """A person's run waits for the run in progress and is done; scheduled runs become one."""
    name, row = "ingest", deployed.by_name["ingest"]
    path = f"deployments/{row['id']}/schedules"
    fast = {"active": True, "schedule": {"interval": 5}}
    slow = {"active": True, "schedule": {"interval": 86400}}
    with deployed.in_progress(name):
        [schedule] = call_api(deployed.api_url, path, [fast])
        path += f"/{schedule['id']}"
        wait_for(lambda: len(deployed.waiting_for_a_place(name)) >= 3)
        call_api(deployed.api_url, path, slow, method="PATCH")  # each is asked about every second
        own = deployed.start(name, folders=[str(images)], processes=1)
        same = deployed.start(name)  # with the parameters of the scheduled runs
        wait_for(lambda: {own, same} <= {run["id"] for run in deployed.waiting(name)})
        cancelled = {run["state_name"] for run in deployed.runs_in_state(name, "CANCELLED")}
        assert cancelled <= {"Covered"}, "none is cancelled for the place that is taken"
        late = [run["id"] for run in deployed.waiting(name) if run["auto_scheduled"]]
    deployed.completed(own)
    deployed.completed(same)
    call_api(deployed.api_url, path, fast, method="PATCH")
    wait_for(lambda: completed_by_schedule(deployed, name))
    call_api(deployed.api_url, path, slow, method="PATCH")
    ended = wait_for(lambda: all_ended(deployed, name, late))
    assert {run["state_name"] for run in ended} <= {"Covered", "Completed"}
    assert deployed.covered(name), "one run did the work of several"


def completed_by_schedule(deployed: Deployed, name: str) -> list[dict[str, Any]]:
    """Runs that the scheduler made, not a person, and the worker completed."""
    return [run for run in deployed.runs_in_state(name, "COMPLETED") if run["auto_scheduled"]]


def all_ended(deployed: Deployed, name: str, run_ids: list[str]) -> list[dict[str, Any]]:
    """These runs once all of them have ended, else none."""
    runs = deployed.runs(name, id={"any_": run_ids})
    return runs if all(run["state_type"] in ENDED for run in runs) else []


def run_a_round(deployed: Deployed) -> None:
    """label and collect by hand; the snapshot's event starts retrain."""
    run = deployed.run("label", annotators="simulated", selection=ROUND)
    assert run["name"] == "label-round-0001"
    assert "data:image/png" in deployed.artifacts()["round-0001"], "the batch is shown with images"
    deployed.run("collect", annotators="simulated")
    retrained = wait_for(lambda: deployed.triggered("retrain"))[0]
    deployed.completed(retrained["id"])
    verdicts = [text for key, text in deployed.artifacts().items() if key.startswith("verdict-")]
    assert any(word in verdicts[0] for word in ("PROMOTE", "HOLD", "REJECT"))
    assert "## What more labels would add" in deployed.artifacts()["budget"]


def make_two_snapshots_during_a_training(
    deployed: Deployed, workspace: Workspace, hone: Hone
) -> None:
    """The newest is trained after it, and once; the one before is trained by nobody."""
    with deployed.in_progress("retrain"):
        before = {run["id"] for run in deployed.triggered("retrain")}

        def new_runs() -> list[dict[str, Any]]:
            return [run for run in deployed.triggered("retrain") if run["id"] not in before]

        def has_new_runs(count: int) -> bool:
            return len(new_runs()) == count

        for count in (1, 2):
            hone("label", "--annotators", "simulated", "--strategy", "random", "--size", "10")
            hone("collect", "--annotators", "simulated", "--every", "1")
            wait_for(partial(has_new_runs, count))
    wait_for(lambda: all(run["end_time"] for run in new_runs()))
    assert sorted(run["state_name"] for run in new_runs()) == ["Completed", "Covered"]
    with connect(workspace.database).connect() as connection:
        trained = connection.scalars(select(models.c.snapshot).order_by(models.c.snapshot)).all()
    assert trained == ["snapshot-0001", "snapshot-0003"]


def check_triggers(deployed: Deployed, event: str, names: list[str]) -> None:
    """The event of a decision starts the flows that answer it."""
    before = {name: len(deployed.triggered(name)) for name in names}

    def has_new_run(name: str) -> bool:
        return len(deployed.triggered(name)) > before[name]

    emit_event(deployed.api_url, event)
    for name in names:
        wait_for(partial(has_new_run, name))
