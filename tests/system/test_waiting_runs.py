"""Which of the runs that wait for one deployment are still needed when one of them starts."""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from flows.retrain import retrain
from tasks.demo.servers import Server, prefect_server
from tasks.waiting_runs import cancel_covered_runs
from tests.system.conftest import PREFECT_FOR_TESTS
from tests.system.deployments import call_api, emit_event, wait_for

pytestmark = pytest.mark.system

OTHER = {"snapshot": "snapshot-0001"}
Waiting = dict[str, tuple[str, str | None]]  # name and message of a run's state, by its id


class Waits:
    """A deployment on whose runs a worker does not work."""

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url
        flow = call_api(api_url, "flows/", {"name": "retrain"})
        schedule: dict[str, Any] = {
            "schedule": {"interval": 300, "anchor_date": "2026-01-01T00:00:00Z"}
        }
        body = {"name": uuid4().hex, "flow_id": flow["id"], "schedules": [schedule]}
        self.deployment = str(call_api(api_url, "deployments/", body)["id"])

    def by_person(self, **parameters: Any) -> str:
        path = f"deployments/{self.deployment}/create_flow_run"
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return str(call_api(self.api_url, path, body)["id"])

    def by_event(self, **parameters: Any) -> str:
        event = f"test.{uuid4().hex}"
        trigger = {"type": "event", "posture": "Reactive", "expect": [event], "threshold": 1}
        action: dict[str, Any] = {"type": "run-deployment", "deployment_id": self.deployment}
        action |= {"parameters": parameters}
        body = {"name": event, "trigger": trigger, "actions": [action]}
        automation = str(call_api(self.api_url, "automations/", body)["id"])
        return wait_for(partial(self._runs_of, event, automation, [0.0]))[0]

    def _runs_of(self, event: str, automation: str, emitted: list[float]) -> list[str]:
        """Its runs: an event that came before the server knew its trigger is lost, and sent again.

        So a slow server may make two.
        """
        if time.monotonic() - emitted[0] > 5:
            emitted[0] = time.monotonic()
            emit_event(self.api_url, event)
        rows = self._rows()
        return [row["id"] for row in rows if (row["created_by"] or {}).get("id") == automation]

    def by_schedule(self, count: int) -> list[str]:
        """The runs of a schedule while nothing ran them, the oldest first."""
        known = self.runs().keys()
        period = {"start_time": (datetime.now(UTC) - timedelta(minutes=5 * count)).isoformat()}
        period |= {"end_time": datetime.now(UTC).isoformat()}
        path = f"deployments/{self.deployment}/schedule"
        call_api(self.api_url, path, period | {"min_runs": count, "max_runs": count})
        return sorted(self.runs().keys() - known)

    def runs(self) -> Waiting:
        """The state of each run that is due."""
        return {row["id"]: (row["state_name"], row["state"]["message"]) for row in self._rows()}

    def _rows(self) -> list[Any]:
        body: dict[str, Any] = {
            "deployments": {"id": {"any_": [self.deployment]}},
            "flow_runs": {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}},
        }
        return list(call_api(self.api_url, "flow_runs/filter", body))

    def start(self, run: str) -> None:
        """What the flow does when the run starts."""
        with get_client(sync_client=True) as client:
            cancel_covered_runs(retrain, client.read_flow_run(UUID(run)), Running())


@pytest.fixture(scope="module")
def server(prefect_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that marks no run as late: with fifty of them its own writes wait for each other.

    Then it also loses an event, or answers one twice.
    """
    folder = tmp_path_factory.mktemp("prefect-waits") / "server"
    shutil.copytree(prefect_template, folder)
    settings = PREFECT_FOR_TESTS | {"PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false"}
    with prefect_server(folder, settings) as running:
        yield running


@pytest.fixture
def waits(server: Server) -> Iterator[Waits]:
    with temporary_settings({PREFECT_API_URL: server.url}):
        yield Waits(server.url)


def test_fifty_late_runs_become_one_and_the_others_say_why(waits: Waits) -> None:
    first, *others = waits.by_schedule(50)
    assert len(others) == 49
    waits.start(first)
    states = waits.runs()
    assert {states[run][0] for run in others} == {"Covered"}
    assert all("started after this run was due" in str(states[run][1]) for run in others)
    assert states[first][0] in ("Scheduled", "Late"), "it runs"


@pytest.mark.parametrize("starts", ["by schedule", "by event", "by person"])
def test_what_nobody_asked_for_in_person_is_done_by_the_run_that_starts(
    waits: Waits, starts: str
) -> None:
    runs = {
        "by schedule": waits.by_schedule(1)[0],
        "by event": waits.by_event(),
        "of another event": waits.by_event(),
        "by event, another request": waits.by_event(**OTHER),
        "by person": waits.by_person(),
        "by another person": waits.by_person(),
    }
    waits.start(runs[starts])
    covered = {name for name, run in runs.items() if waits.runs()[run][0] == "Covered"}
    assert covered == {"by schedule", "by event", "of another event"} - {starts}


def test_another_request_does_no_other_runs_work(waits: Waits) -> None:
    usual, other = waits.by_event(), waits.by_event(**OTHER)
    waits.start(other)
    assert {waits.runs()[run][0] for run in (usual, other)} <= {"Scheduled", "Late"}
