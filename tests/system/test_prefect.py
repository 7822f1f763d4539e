"""The deployments on a real server: `prefect deploy --all`, a worker, schedules and events."""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from core.workspace import Workspace
from tasks.demo.servers import Server, prefect_worker
from tests.system.world import environment, hone, make_world

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

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


def eventually(what: Callable[[], Any], seconds: float = 120) -> Any:
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

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        made = ask(
            self.api_url,
            f"deployments/{self.by_name[name]['id']}/create_flow_run",
            {"parameters": parameters, "state": {"type": "SCHEDULED"}},
        )
        return self.ended(made["id"])

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
    api_url = prefect_server.url
    prefect(workspace, api_url, "work-pool", "create", "hone", "--type", "process")
    prefect(workspace, api_url, "deploy", "--all")
    deployed = Deployed(api_url)
    assert sorted(deployed.by_name) == FLOWS
    for name, row in deployed.by_name.items():
        assert row["schedules"][0]["active"], name
        assert row["description"], name
        assert "hone" in row["tags"], name
        assert row["global_concurrency_limit"]["limit"] == 1, name
    with prefect_worker(
        api_url, pool="hone", folder=tmp_path / "worker", environment=environment(workspace)
    ):
        deployed.run("ingest", folders=[str(tmp_path / "images")], processes=1)
        on_its_schedule(deployed, "ingest")
        a_round(deployed)
        on_an_event(deployed, "hone.drift", ["label", "retrain"])
        deployed.run("watch")
    report = hone(workspace, "fsck")
    assert "every promise holds" in report.stdout


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


def on_its_schedule(deployed: Deployed, name: str) -> None:
    """A run that the scheduler made, not a person, is finished by the worker."""
    row = deployed.by_name[name]
    ask(
        deployed.api_url,
        f"deployments/{row['id']}/schedules",
        [{"active": True, "schedule": {"interval": 15}}],
    )

    def scheduled() -> list[dict[str, Any]]:
        return [run for run in deployed.runs(name, is_="COMPLETED") if run["auto_scheduled"]]

    eventually(scheduled)
    made = ask(deployed.api_url, f"deployments/{row['id']}", verb="GET")["schedules"]
    short = next(one for one in made if one["schedule"].get("interval") == 15)
    ask(deployed.api_url, f"deployments/{row['id']}/schedules/{short['id']}", verb="DELETE")


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
