"""The deployments on a real server: `prefect deploy --all`, a worker, schedules and events."""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from sqlalchemy import select

from core.database import connect
from core.workspace import Workspace
from models.registry.versions import models
from tasks.demo.servers import Server, prefect_worker
from tests.system.world import environment, hone, make_world

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

READY = "hone.labels-ready"
FLOWS = ["collect", "ingest", "label", "retrain", "review", "watch"]


def prefect(workspace: Workspace, api_url: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        timeout=120,
        env=environment(workspace, PREFECT_API_URL=api_url),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ask(api_url: str, what: str, body: Any = None, *, verb: Any = "POST") -> Any:
    """What the server answers; Prefect's own client, which comes again when it is busy."""
    with SyncPrefectClient(api_url) as client:
        said = {} if verb in ("GET", "DELETE") else {"json": {} if body is None else body}
        answer = client.request(verb, f"/{what}", **said)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer.json() if answer.content else None


def eventually(what: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.5)
    return found


class Deployed:
    """The deployments on a server, and what they ran."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self.by_name = {row["name"]: row for row in ask(api_url, "deployments/filter")}

    def runs(self, name: str, **state: Any) -> list[dict[str, Any]]:
        body = {"deployments": {"id": {"any_": [self.by_name[name]["id"]]}}}
        if state:
            body["flow_runs"] = {"state": {"type": {"any_": [state["is_"]]}}}
        return ask(self.api_url, "flow_runs/filter", body)

    def triggered(self, name: str) -> list[dict[str, Any]]:
        """Runs that no schedule made."""
        return [run for run in self.runs(name) if not run["auto_scheduled"]]

    def waiting(self, name: str) -> list[dict[str, Any]]:
        """Runs that are due and were not started."""
        due = datetime.now(UTC).isoformat()
        scheduled = self.runs(name, is_="SCHEDULED")
        return [run for run in scheduled if run["expected_start_time"] <= due]

    def covered(self, name: str) -> list[dict[str, Any]]:
        """Runs whose work another run does."""
        return [run for run in self.runs(name) if run["state_name"] == "Covered"]

    def start(self, name: str, **parameters: Any) -> str:
        """Ask for a run as a person does; return its id."""
        path = f"deployments/{self.by_name[name]['id']}/create_flow_run"
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(ask(self.api_url, path, body)["id"])

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        return self.ended(self.start(name, **parameters))

    @contextmanager
    def in_progress(self, name: str) -> Iterator[None]:
        """As if a run of the deployment were in progress: its only place is taken."""
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # no worker takes it
        path = f"deployments/{self.by_name[name]['id']}/create_flow_run"
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": later}}
        run = ask(self.api_url, path, {"state": state})

        def enter(state: str) -> Any:
            body = {"state": {"type": state}}
            answer = ask(self.api_url, f"flow_runs/{run['id']}/set_state", body)
            return answer["status"] == "ACCEPT" and answer["state"]

        pending = eventually(lambda: enter("PENDING"))
        lease = pending["state_details"]["deployment_concurrency_lease_id"]
        with SyncPrefectClient(self.api_url) as client:
            client.renew_concurrency_lease(uuid.UUID(lease), lease_duration=1800)
        yield
        assert enter("CANCELLED")

    def ended(self, run_id: str) -> dict[str, Any]:
        def look() -> Any:
            run = ask(self.api_url, f"flow_runs/{run_id}", verb="GET")
            return (
                run
                if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
                else None
            )

        run: dict[str, Any] = eventually(look)
        assert run["state_type"] == "COMPLETED", run["state"]
        return run

    def artifacts(self) -> dict[str, str]:
        found = ask(self.api_url, "artifacts/filter", {"limit": 200})
        return {row["key"]: str(row["data"]) for row in found if row["key"]}


def test_the_deployments_run_on_demand_on_schedule_and_on_events(
    tmp_path: Path, prefect_server: Server
) -> None:
    workspace = make_world(tmp_path)
    deployed = deploy(workspace, prefect_server.url)
    assert sorted(deployed.by_name) == FLOWS
    for name, row in deployed.by_name.items():
        assert row["schedules"][0]["active"], name
        assert row["description"], name
        assert "hone" in row["tags"], name
        assert row["global_concurrency_limit"]["limit"] == 1, name
        assert row["concurrency_options"]["collision_strategy"] == "ENQUEUE", name
    with working(deployed, workspace):
        run_on_demand_beside_a_schedule(deployed, tmp_path / "images")
        a_round(deployed)
        two_snapshots_during_a_training(deployed, workspace)
        on_an_event(deployed, "hone.drift", ["label", "retrain"])
        deployed.run("watch")
    report = hone(workspace, "fsck")
    assert "every promise holds" in report.stdout


def test_gold_alone_starts_no_training(tmp_path: Path, prefect_server: Server) -> None:
    workspace = make_world(tmp_path, images=12)
    gold = tmp_path / "gold" / "7"
    gold.mkdir(parents=True)
    for path in sorted((tmp_path / "images").rglob("*.png"))[:4]:
        path.rename(gold / path.name)
    assert "4 new" in hone(workspace, "import", str(gold.parent), "--gold").stdout

    def raised() -> int:
        wanted = {"filter": {"event": {"name": [READY]}}}
        return int(ask(prefect_server.url, "events/filter", wanted)["total"])

    before = raised()
    words = hone(workspace, "collect", PREFECT_API_URL=prefect_server.url)
    assert "snapshot-0001 starts no training: none of the 4 rows" in words.stdout + words.stderr
    assert raised() == before
    trained = hone(workspace, "retrain", PREFECT_API_URL=prefect_server.url)
    assert (
        "snapshot-0001 cannot be trained on: none of the 4 rows" in trained.stdout + trained.stderr
    )


def deploy(workspace: Workspace, api_url: str) -> Deployed:
    """The deployments of prefect.yaml, put on the server as an operator does."""
    prefect(workspace, api_url, "work-pool", "create", "hone", "--type", "process", "--overwrite")
    prefect(workspace, api_url, "deploy", "--all")
    return Deployed(api_url)


@contextmanager
def working(deployed: Deployed, workspace: Workspace) -> Iterator[None]:
    """A worker that runs the deployments in the workspace."""
    with prefect_worker(
        deployed.api_url,
        pool="hone",
        folder=workspace.root.parent / "worker",
        environment=environment(workspace),
    ):
        yield


def run_on_demand_beside_a_schedule(deployed: Deployed, images: Path) -> None:
    """A person's run waits for the run in progress and is done; scheduled runs become one."""
    name, row = "ingest", deployed.by_name["ingest"]
    path = f"deployments/{row['id']}/schedules"
    fast = {"active": True, "schedule": {"interval": 5}}
    with deployed.in_progress(name):
        [schedule] = ask(deployed.api_url, path, [fast])
        eventually(lambda: len(deployed.waiting(name)) >= 3)
        asked = deployed.start(name, folders=[str(images)], processes=1)
        again = deployed.start(name)  # with the parameters of the scheduled runs
        eventually(lambda: {asked, again} <= {run["id"] for run in deployed.waiting(name)})
        states = {run["state_name"] for run in deployed.runs(name, is_="CANCELLED")}
        assert states <= {"Covered"}, "none is cancelled for the place that is taken"
        late = [run["id"] for run in deployed.waiting(name) if run["auto_scheduled"]]
    deployed.ended(asked)
    deployed.ended(again)
    slow = {"active": True, "schedule": {"interval": 86400}}
    ask(deployed.api_url, f"{path}/{schedule['id']}", slow, verb="PATCH")
    eventually(lambda: not {run["id"] for run in deployed.waiting(name)} & set(late))
    ends = [run for run in deployed.runs(name) if run["id"] in late]
    assert {run["state_name"] for run in ends} <= {"Covered", "Completed"}
    assert deployed.covered(name), "one run did the work of several"
    on_its_schedule(deployed, name)


def on_its_schedule(deployed: Deployed, name: str) -> None:
    """A run that the scheduler made, not a person, is finished by the worker."""

    def scheduled() -> list[dict[str, Any]]:
        return [run for run in deployed.runs(name, is_="COMPLETED") if run["auto_scheduled"]]

    eventually(scheduled)


def a_round(deployed: Deployed) -> None:
    """label and collect by hand; the snapshot's event starts retrain."""
    run = deployed.run(
        "label",
        annotators="simulated",
        selection={"strategy": "random", "size": 60, "audit_share": 0.5},
    )
    assert run["name"] == "label-round-0001"
    assert "data:image/png" in deployed.artifacts()["round-0001"], "the batch is shown with images"
    deployed.run("collect", annotators="simulated")
    retrained = eventually(lambda: deployed.triggered("retrain"))[0]
    deployed.ended(retrained["id"])
    verdicts = [text for key, text in deployed.artifacts().items() if key.startswith("verdict-")]
    assert any(word in verdicts[0] for word in ("PROMOTE", "HOLD", "REJECT"))
    assert "## What more labels would add" in deployed.artifacts()["budget"]


def two_snapshots_during_a_training(deployed: Deployed, workspace: Workspace) -> None:
    """The newest is trained after it, and once; the one before is trained by nobody."""
    before = {run["id"] for run in deployed.triggered("retrain")}

    def asked_for() -> list[dict[str, Any]]:
        return [run for run in deployed.triggered("retrain") if run["id"] not in before]

    with deployed.in_progress("retrain"):
        before |= {run["id"] for run in deployed.triggered("retrain")}
        for count in (1, 2):
            deployed.run(
                "label", annotators="simulated", selection={"strategy": "random", "size": 10}
            )
            deployed.run("collect", annotators="simulated", every=1)
            eventually(lambda count=count: len(asked_for()) == count)
    eventually(lambda: all(run["end_time"] for run in asked_for()))
    assert sorted(run["state_name"] for run in asked_for()) == ["Completed", "Covered"]
    with connect(workspace.database).connect() as connection:
        trained = connection.scalars(select(models.c.snapshot).order_by(models.c.snapshot)).all()
    assert trained == ["snapshot-0001", "snapshot-0003"]


def on_an_event(deployed: Deployed, event: str, names: list[str]) -> None:
    """The event of a decision starts the flows that answer it."""
    before = {name: len(deployed.triggered(name)) for name in names}
    emitted = {
        "event": event,
        "occurred": datetime.now(UTC).isoformat(),
        "id": str(uuid.uuid4()),
        "resource": {"prefect.resource.id": "hone.workspace"},
        "payload": {},
        "related": [],
    }
    ask(deployed.api_url, "events", [emitted])
    for name in names:
        eventually(lambda name=name: len(deployed.triggered(name)) > before[name])
