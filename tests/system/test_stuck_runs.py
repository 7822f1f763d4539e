"""Server, worker and runs are killed at each step of an automation; what was asked for is done."""

import shutil
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from core.database import connect, writing
from core.locks import only_writer
from labeling.ledger.tables import rounds
from labeling.ledger.watermarks import save_watermark
from tasks.collect.freeze import ANNOUNCED
from tasks.demo import servers
from tasks.operate.prefect_api import PROCESS
from tests.system.deployments import (
    ENDED,
    Deployed,
    call_api,
    deploy,
    emit_event,
    kill,
    wait_for,
    working,
)
from tests.system.terminal import terminal
from tests.system.world import make_world

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]

QUICK = {
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",  # Prefect's least
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
}
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}  # Prefect's least
READ_ONLY = {"id", "created", "updated"}
ROUND = {"strategy": "random", "size": 60, "audit_share": 0.5}


def test_what_was_asked_for_is_done_once_after_everything_was_killed(
    prefect_template: Path, tmp_path: Path
) -> None:
    workspace = make_world(tmp_path)
    simulated = ("--annotators", "simulated")
    with terminal(workspace) as hone:
        hone("ingest", str(tmp_path / "images"))
        hone("label", *simulated, "--strategy", "random", "--size", "60", "--audit-share", "0.5")
        hone("collect", *simulated, "--every", "1")
    engine = connect(workspace.database)
    shutil.copytree(prefect_template, tmp_path / "server")
    with servers.prefect_server(tmp_path / "server", QUICK) as server:
        deployed = deploy(workspace, server.url)
        prepare(deployed)
        with working(deployed, workspace, **HEARTBEAT), ExitStack() as held:
            held.enter_context(only_writer(engine, "rounds"))
            label = deployed.start("label")
            wait_for(lambda: PROCESS in run_of(deployed, label)["labels"])  # running
            emit_event(server.url, "hone.answers")
            wait_for(lambda: deployed.runs_in_state("collect", "PENDING"), every=0.1)
            kill(tmp_path / "worker", "worker", "start")
        ingest = deployed.start("ingest")  # scheduled
        with writing(engine) as connection:
            save_watermark(connection, ANNOUNCED, "snapshot-0001")
        emit_event(server.url, "hone.labels-ready")  # taken, and perhaps forgotten
        kill(tmp_path / "server", "server", "start")
    with servers.prefect_server(tmp_path / "server", QUICK) as server:
        deployed = Deployed(server.url)
        with working(deployed, workspace, **HEARTBEAT):
            assert deployed.completed(label)["run_count"] == 2
            deployed.completed(ingest)
            [collect] = wait_for(lambda: ended(deployed, "collect"))
            [retrain] = wait_for(lambda: deployed.triggered("retrain"))
    assert (collect["state_name"], collect["run_count"]) == ("Completed", 1)
    assert retrain["created_by"]["type"] == "AUTOMATION", "of the event that was raised again"
    assert count(engine, rounds) == 2, "the one before, and the one that was asked for"


def prepare(deployed: Deployed) -> None:
    """No schedules, simulated annotators, and triggers that fire soon."""
    deployed.pause_schedules()
    deployed.change("label", parameters={"annotators": "simulated", "selection": ROUND})
    deployed.change("collect", parameters={"annotators": "simulated"})
    for automation in call_api(deployed.api_url, "automations/filter"):
        trigger = automation["trigger"]
        if trigger["posture"] == "Proactive":
            trigger["within"] = timedelta(seconds=35).total_seconds()
            changed = {key: automation[key] for key in automation.keys() - READ_ONLY}
            path = f"automations/{automation['id']}"
            call_api(deployed.api_url, path, changed, method="PUT")


def run_of(deployed: Deployed, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = call_api(deployed.api_url, f"flow_runs/{run_id}", method="GET")
    return run


def ended(deployed: Deployed, name: str) -> list[dict[str, Any]]:
    """The runs of a deployment once all of them have ended, else none."""
    runs = deployed.triggered(name)
    return runs if all(run["state_type"] in ENDED for run in runs) else []


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)
