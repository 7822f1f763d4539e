"""The place of a deployment outlives its server: a run keeps it, and a dead one gives it back."""

import shutil
from pathlib import Path

import pytest

from tasks.demo import servers
from tests.system.deployments import call_api, kill, propose_state, wait_for

pytestmark = pytest.mark.system

QUICK = {
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",  # Prefect's least
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
}


def test_the_next_run_starts_after_server_and_run_died_together(
    prefect_template: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(prefect_template, tmp_path / "server")
    with servers.prefect_server(folder, QUICK) as server:
        deployment = make_deployment(server.url)
        first = create_run(server.url, deployment)
        assert propose_state(server.url, first, "PENDING")
        assert propose_state(server.url, first, "RUNNING")
        kill(folder, "server", "start")
    with servers.prefect_server(folder, QUICK) as server:
        second = create_run(server.url, deployment)
        assert not propose_state(server.url, second, "PENDING"), "the place is taken"
        wait_for(lambda: propose_state(server.url, second, "PENDING"), 120)


def make_deployment(api_url: str) -> str:
    """The id of a deployment that runs one flow run at a time, as ours do."""
    flow = call_api(api_url, "flows/", {"name": "any"})
    one_at_a_time = {
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
    }
    body = {"name": "any", "flow_id": flow["id"], **one_at_a_time}
    return str(call_api(api_url, "deployments/", body)["id"])


def create_run(api_url: str, deployment: str) -> str:
    """The id of a new run that is due."""
    path = f"deployments/{deployment}/create_flow_run"
    return str(call_api(api_url, path, {"state": {"type": "SCHEDULED"}})["id"])
