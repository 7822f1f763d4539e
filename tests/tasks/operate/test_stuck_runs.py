"""A run counts as stuck only when a fact shows that nothing runs it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.locks import this_process
from settings import Settings
from tasks.operate.prefect_api import PROCESS, Deployment, PrefectRun
from tasks.operate.stuck_runs import PrefectOverview, StuckRun, load_overview, stuck_runs

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
RUN = PrefectRun(
    run_id="r1", name="retrain-snapshot-0001", deployment_id="d1", parameters={}, maker=None,
    due=NOW.isoformat(), state="RUNNING", state_id="s1", since=NOW.isoformat(), process=None,
)  # fmt: skip
FULL = Deployment("d1", "retrain", "hone", taken=1)
FREE = replace(FULL, taken=0)


def ago(**time: float) -> str:
    return (NOW - timedelta(**time)).isoformat()


def stuck(*runs: PrefectRun, deployment: Deployment = FULL) -> list[str]:
    return [one.run.run_id for one in stuck_runs(runs, [deployment], NOW)]


@pytest.fixture
def ended_process() -> str:
    """The name of a process of this machine that has ended."""
    machine, _, start = this_process().rsplit(":", 2)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return f"{machine}:{child.pid}:{start}"


def test_a_run_whose_process_has_ended_is_stuck_at_once(ended_process: str) -> None:
    run = replace(RUN, process=ended_process)
    [found] = stuck_runs([run], [FULL], NOW)
    assert found == StuckRun(run, f"its process {ended_process} has ended")
    in_terminal = replace(run, deployment_id=None)
    assert stuck(in_terminal) == ["r1"]


def test_a_run_that_lives_is_never_stuck() -> None:
    old = replace(RUN, since=ago(days=3))
    assert stuck(old) == [], "it holds the place"
    assert stuck(replace(old, process=this_process())) == []
    assert stuck(replace(old, process="elsewhere/1:1:0.00")) == [], "of another machine"
    assert stuck(replace(old, deployment_id=None)) == [], "nothing is known of it"
    assert stuck(old, deployment=replace(FULL, taken=None)) == [], "it needs no place"


def test_a_run_that_lost_its_place_is_stuck_unless_it_just_took_one() -> None:
    assert stuck(replace(RUN, since=ago(seconds=30)), deployment=FREE) == ["r1"]
    assert stuck(replace(RUN, since=ago(seconds=2)), deployment=FREE) == []


def test_of_two_runs_with_one_place_the_newer_one_may_live() -> None:
    old = replace(RUN, state="PENDING", since=ago(hours=1))
    new = replace(RUN, run_id="r2", since=ago(minutes=10))
    assert stuck(new, old) == ["r1"]
    assert stuck(new, old, deployment=FREE) == ["r1", "r2"]
    assert stuck(new, old, deployment=replace(FULL, taken=2)) == []


def test_a_run_without_a_place_is_left_alone_while_another_has_it(ended_process: str) -> None:
    old = replace(RUN, process=ended_process, since=ago(hours=1))
    new = replace(RUN, run_id="r2", since=ago(minutes=10))
    [found] = stuck_runs([new, old], [FULL], NOW)
    assert found.would_free_another, "Prefect would free the place of the new one with it"
    assert not any(one.would_free_another for one in stuck_runs([new, old], [FREE], NOW))
    assert not any(one.would_free_another for one in stuck_runs([old], [FULL], NOW)), "its own"


@pytest.fixture
def starting() -> Iterator[str]:
    """The id of a run that a process of this machine is being started for."""
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    environment = {"PREFECT__FLOW_RUN_ID": "r9"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield "r9"
        child.kill()


def test_a_run_that_takes_long_to_start_here_is_not_stuck(starting: str) -> None:
    run = replace(RUN, run_id=starting, state="PENDING", since=ago(hours=1))
    assert stuck(run, replace(run, run_id="r1"), deployment=FREE) == ["r1"]


def test_a_run_knows_its_process_only_in_the_state_in_which_it_was_recorded() -> None:
    row = {
        "id": "r1", "name": "label-round-0001", "deployment_id": "d1", "parameters": {},
        "created_by": {"type": "AUTOMATION"}, "expected_start_time": ago(hours=1),
        "state_type": "RUNNING", "state_id": "s2", "state": {"timestamp": ago(minutes=1)},
        "labels": {PROCESS: "s2 machine:7:1.00"},
    }  # fmt: skip
    assert PrefectRun.of(row).process == "machine:7:1.00"
    assert PrefectRun.of(row | {"state_id": "s3"}).process is None, "of an earlier attempt"
    assert PrefectRun.of(row | {"labels": {}}).process is None


def test_a_server_that_does_not_answer_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    overview = load_overview(Settings())
    assert overview.problem is not None
    assert "http://127.0.0.1:9/api" in overview.problem
    assert "prefect server start" in overview.problem
    assert overview == PrefectOverview(problem=overview.problem)
