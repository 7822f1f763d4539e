"""Flows without a Prefect server: plain calls, the same retries, no server started."""

import pytest
from prefect import flow, task
from prefect.server.api.server import SubprocessASGIServer

from tasks.direct_run import direct_runs, is_direct_run
from tasks.retries import is_transient_error

CALLS: list[str] = []


@task(retries=2, retry_delay_seconds=[0, 0], retry_condition_fn=is_transient_error)
def fail(error: Exception, times: int) -> int:
    CALLS.append("fail")
    if len(CALLS) <= times:
        raise error
    return len(CALLS)


@flow
def run(error: Exception, times: int) -> int:
    return fail(error, times)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary Prefect server was started")

    CALLS.clear()
    monkeypatch.setattr(SubprocessASGIServer, "start", refuse)


def test_a_flow_and_its_tasks_are_plain_calls() -> None:
    with direct_runs():
        assert is_direct_run()
        assert run(OSError("busy"), 0) == 1
    assert not is_direct_run()


def test_a_transient_error_is_tried_again_as_often_as_the_task_declares() -> None:
    with direct_runs():
        assert run(OSError("busy"), 2) == 3
        CALLS.clear()
        with pytest.raises(OSError, match="busy"):
            run(OSError("busy"), 3)
    assert len(CALLS) == 3


def test_an_error_that_the_condition_refuses_is_raised_at_once() -> None:
    with direct_runs(), pytest.raises(ValueError, match="wrong"):
        run(ValueError("wrong"), 3)
    assert len(CALLS) == 1


def test_prefect_calls_are_as_before_afterwards() -> None:
    before = type(run).__call__, type(fail).__call__
    with pytest.raises(ValueError, match="wrong"), direct_runs():
        run(ValueError("wrong"), 3)
    assert (type(run).__call__, type(fail).__call__) == before
