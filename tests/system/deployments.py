"""The deployments of prefect.yaml on a real server, as an operator and as the tests see them."""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil
from prefect.client.orchestration import SyncPrefectClient

from core.workspace import Workspace
from tasks.demo.servers import prefect_worker
from tests.system.world import environment

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
REPOSITORY = Path(__file__).parents[2]
Value = TypeVar("Value")


def call_api(
    api_url: str,
    path: str,
    body: Any = None,
    *,
    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"] = "POST",
) -> Any:
    """The answer of a Prefect server, through Prefect's own client: it repeats when refused."""
    content = {} if method in ("GET", "DELETE") else {"json": {} if body is None else body}
    answer = client_of(api_url).request(method, f"/{path}", **content)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer.json() if answer.content else None


@cache
def client_of(api_url: str) -> SyncPrefectClient:
    """One client for all calls: making it and asking for the version costs more than a call."""
    return SyncPrefectClient(api_url).__enter__()


def wait_for(condition: Callable[[], Value], seconds: float = 300, *, every: float = 0.5) -> Value:
    """The first value of `condition` that is true; an error when none was in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(every)
    return value


class Deployed:
    """The deployments on a server, and their runs."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        self.by_name = {row["name"]: row for row in call_api(api_url, "deployments/filter")}

    def runs(self, name: str, **conditions: Any) -> list[dict[str, Any]]:
        """The runs of a deployment that meet Prefect's filters."""
        deployments = {"id": {"any_": [self.by_name[name]["id"]]}}
        body = {"deployments": deployments, "flow_runs": conditions}
        runs: list[dict[str, Any]] = call_api(self.api_url, "flow_runs/filter", body)
        return runs

    def runs_in_state(self, name: str, *types: str) -> list[dict[str, Any]]:
        """The runs of a deployment in one of these types of state."""
        return self.runs(name, state={"type": {"any_": list(types)}})

    def triggered(self, name: str) -> list[dict[str, Any]]:
        """Runs that no schedule made."""
        return [run for run in self.runs(name) if not run["auto_scheduled"]]

    def waiting(self, name: str) -> list[dict[str, Any]]:
        """Runs that are due and were not started."""
        due = {"before_": datetime.now(UTC).isoformat()}
        scheduled = {"type": {"any_": ["SCHEDULED"]}}
        return self.runs(name, state=scheduled, expected_start_time=due)

    def waiting_for_a_place(self, name: str) -> list[dict[str, Any]]:
        """Runs that were refused because another one has the only place."""
        return self.runs(name, state={"name": {"any_": ["AwaitingConcurrencySlot"]}})

    def covered(self, name: str) -> list[dict[str, Any]]:
        """Runs whose work another run does."""
        return self.runs(name, state={"name": {"any_": ["Covered"]}})

    def start(self, name: str, **parameters: Any) -> str:
        """Request a run as a person does; return its id."""
        path = f"deployments/{self.by_name[name]['id']}/create_flow_run"
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(call_api(self.api_url, path, body)["id"])

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The completed run that a person requested."""
        return self.completed(self.start(name, **parameters))

    def completed(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended; an error unless it completed."""

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = call_api(self.api_url, f"flow_runs/{run_id}", method="GET")
            return run if run["state_type"] in ENDED else None

        run = wait_for(ended)
        assert run is not None and run["state_type"] == "COMPLETED", run
        return run

    @contextmanager
    def in_progress(self, name: str) -> Iterator[None]:
        """As if a run of the deployment were in progress: its only place is taken."""
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # no worker takes it
        path = f"deployments/{self.by_name[name]['id']}/create_flow_run"
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": later}}
        run = call_api(self.api_url, path, {"state": state})["id"]
        pending = wait_for(lambda: propose_state(self.api_url, run, "PENDING"))
        assert pending is not None
        lease = pending["state_details"]["deployment_concurrency_lease_id"]
        client_of(self.api_url).renew_concurrency_lease(uuid.UUID(lease), lease_duration=1800)
        yield
        assert propose_state(self.api_url, run, "CANCELLED")

    def change(self, name: str, **fields: Any) -> None:
        """Change fields of a deployment."""
        path = f"deployments/{self.by_name[name]['id']}"
        call_api(self.api_url, path, fields, method="PATCH")

    def pause_schedules(self) -> None:
        """Let only people and events ask for runs."""
        for row in self.by_name.values():
            call_api(self.api_url, f"deployments/{row['id']}/pause_deployment")

    def artifacts(self) -> dict[str, str]:
        """The text of each artifact by its key."""
        rows = call_api(self.api_url, "artifacts/filter", {"limit": 200})
        return {row["key"]: str(row["data"]) for row in rows if row["key"]}


def propose_state(api_url: str, run_id: str, state: str) -> dict[str, Any] | None:
    """The state of the run when the server accepted the proposed one, else None."""
    answer = call_api(api_url, f"flow_runs/{run_id}/set_state", {"state": {"type": state}})
    accepted: dict[str, Any] | None = answer["state"] if answer["status"] == "ACCEPT" else None
    return accepted


def deploy(workspace: Workspace, api_url: str) -> Deployed:
    """The deployments of prefect.yaml, put on the server as an operator does."""
    run_prefect(
        workspace, api_url, "work-pool", "create", "hone", "--type", "process", "--overwrite"
    )
    run_prefect(workspace, api_url, "deploy", "--all")
    return Deployed(api_url)


def run_prefect(workspace: Workspace, api_url: str, *words: str) -> None:
    """Run the command `prefect`; an error with its output when it fails."""
    ended = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=300,
        env=environment(workspace, PREFECT_API_URL=api_url),
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@contextmanager
def working(deployed: Deployed, workspace: Workspace, **more: str) -> Iterator[None]:
    """A worker that runs the deployments in the workspace."""
    with prefect_worker(
        deployed.api_url,
        pool="hone",
        folder=workspace.root.parent / "worker",
        environment=environment(workspace, **more),
    ):
        yield


def kill(folder: Path, *words: str) -> None:
    """SIGKILL for the command of Prefect with its files in this folder, as by a power cut."""
    [process] = [
        child
        for child in psutil.Process().children(recursive=True)
        if child.cmdline()[1 : 3 + len(words)] == ["-m", "prefect", *words]
        and child.environ()["PREFECT_HOME"] == str(folder)
    ]
    process.send_signal(signal.SIGKILL)
    process.wait()


def emit_event(api_url: str, name: str, resource: str = "hone.workspace") -> None:
    """Send an event of this name to the server."""
    event = {
        "event": name,
        "occurred": datetime.now(UTC).isoformat(),
        "id": str(uuid.uuid4()),
        "resource": {"prefect.resource.id": resource},
        "payload": {},
        "related": [],
    }
    call_api(api_url, "events", [event])
