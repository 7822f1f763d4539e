"""The place of a deployment outlives its server: a run keeps it, and a dead one gives it back."""

import signal
from pathlib import Path

import psutil
import pytest

from tasks.demo import servers
from tests.system.test_prefect import ask, eventually

pytestmark = pytest.mark.system

QUICK = {
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",  # Prefect's least
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
}


def test_the_next_run_starts_after_server_and_run_died_together(tmp_path: Path) -> None:
    with servers.prefect_server(tmp_path, QUICK) as server:
        deployment = make_deployment(server.url)
        first = create_run(server.url, deployment)
        assert enter(server.url, first, "PENDING") == "PENDING"
        assert enter(server.url, first, "RUNNING") == "RUNNING"
        kill_server(tmp_path)
    with servers.prefect_server(tmp_path, QUICK) as server:
        second = create_run(server.url, deployment)
        assert enter(server.url, second, "PENDING") == "SCHEDULED", "the place is taken"
        eventually(lambda: enter(server.url, second, "PENDING") == "PENDING", 120)


def make_deployment(api_url: str) -> str:
    """The id of a deployment that runs one flow run at a time, as ours do."""
    flow = ask(api_url, "flows/", {"name": "any"})
    one_at_a_time = {
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }
    body = {"name": "any", "flow_id": flow["id"], **one_at_a_time}
    return str(ask(api_url, "deployments/", body)["id"])


def create_run(api_url: str, deployment: str) -> str:
    """The id of a new run that is due."""
    path = f"deployments/{deployment}/create_flow_run"
    return str(ask(api_url, path, {"state": {"type": "SCHEDULED"}})["id"])


def enter(api_url: str, run: str, state: str) -> str:
    """The type of the state that the run has after this one was proposed for it."""
    answer = ask(api_url, f"flow_runs/{run}/set_state", {"state": {"type": state}})
    return str(answer["state"]["type"])


def kill_server(folder: Path) -> None:
    """SIGKILL for the Prefect server with its database in this folder, as by a power cut."""
    children = psutil.Process().children(recursive=True)
    [server] = [child for child in children if is_server(child, folder)]
    server.send_signal(signal.SIGKILL)
    server.wait()


def is_server(process: psutil.Process, folder: Path) -> bool:
    words = process.cmdline()[1:5]
    return words == ["-m", "prefect", "server", "start"] and process.environ()[
        "PREFECT_HOME"
    ] == str(folder)
