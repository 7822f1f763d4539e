"""A run that used its attempts is given up, and an alert says so."""

from dataclasses import replace
from typing import cast

import pytest

from tasks.operate import free_runs
from tasks.operate.free_runs import ATTEMPTS, alert_of, is_given_up
from tasks.operate.prefect_api import PrefectApi, PrefectRun
from tasks.operate.stuck_runs import StuckRun

RUN = PrefectRun(
    run_id="r1", name="retrain-snapshot-0001", deployment_id="d1", parameters={}, maker=None,
    due="2026-01-05", state="CRASHED", state_id="s1", since="2026-01-05", process=None,
)  # fmt: skip


class Api:
    """A server on which the run was repeated so many times."""

    def __init__(self, repeated: int) -> None:
        self.repeated = repeated

    def count_states(self, run_id: str, name: str) -> int:
        return self.repeated


@pytest.mark.parametrize(
    ("run", "repeated", "is_last"),
    [
        (RUN, ATTEMPTS - 1, True),
        (replace(RUN, state="RUNNING"), ATTEMPTS - 1, True),
        (RUN, ATTEMPTS - 2, False),
        (replace(RUN, state="PENDING"), ATTEMPTS, False),
        (replace(RUN, state="CANCELLING"), ATTEMPTS, False),
        (replace(RUN, deployment_id=None), ATTEMPTS, False),
    ],
)
def test_a_run_is_given_up_after_its_last_attempt(
    run: PrefectRun, repeated: int, is_last: bool
) -> None:
    stuck = StuckRun(run, "its process ended")
    assert is_given_up(cast(PrefectApi, Api(repeated)), stuck) == is_last


def test_a_run_whose_work_a_later_one_did_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_runs, "_run_that_covers", lambda api, run: RUN)
    stuck = StuckRun(RUN, "its process ended")
    assert not is_given_up(cast(PrefectApi, Api(ATTEMPTS)), stuck)


def test_the_alert_names_the_run_and_how_to_read_its_log() -> None:
    alert = alert_of(StuckRun(RUN, "its process ended"))
    assert alert.title == "the run retrain-snapshot-0001 did not end in 3 attempts"
    assert alert.body.startswith("its process ended. ")
    assert (alert.command, alert.is_event) == ("prefect flow-run logs r1", True)
