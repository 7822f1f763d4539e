"""Flows and tasks called as plain functions, for a command where no Prefect server is configured.

Prefect would start a temporary server for each command: 5 s of processor time, and a record that
nobody reads. The promises of a run rest on the database of the workspace, not on Prefect's states.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_IS_DIRECT: ContextVar[bool] = ContextVar("hone_direct_run", default=False)


def is_direct_run() -> bool:
    """Whether the code runs without Prefect's engine, so that there is no place for artifacts."""
    return _IS_DIRECT.get()


@contextmanager
def direct_runs() -> Iterator[None]:
    """Let every call of a flow or task in this process run its function, without Prefect's engine.

    Tasks are retried as they declare, after the same delays. Time limits are left to the person
    who started the command.
    """
    from prefect import Flow, Task

    token = _IS_DIRECT.set(True)
    calls: dict[Any, Any] = {Flow: Flow.__call__, Task: Task.__call__}
    replaced: dict[Any, Any] = {Flow: _call_flow, Task: _call_task}
    for kind, call in replaced.items():
        kind.__call__ = call
    try:
        yield
    finally:
        for kind, call in calls.items():
            kind.__call__ = call
        _IS_DIRECT.reset(token)


def _call_flow(flow: Any, *args: Any, **kwargs: Any) -> Any:
    return flow.fn(*args, **kwargs)


def _call_task(task: Any, *args: Any, **kwargs: Any) -> Any:
    """What the task's function returns, called again after an error that its condition allows."""
    from prefect.client.schemas.objects import State, StateType

    for delay in _delays(task):
        try:
            return task.fn(*args, **kwargs)
        except Exception as error:
            state: State[Any] = State(type=StateType.FAILED, data=error)
            condition = task.retry_condition_fn
            if condition is not None and not condition(task, None, state):
                raise
            print(f"{task.name}: {error}; tried again in {delay:g} s")
            time.sleep(delay)
    return task.fn(*args, **kwargs)


def _delays(task: Any) -> list[float]:
    """The pause before each retry; a list that is too short ends with its last value repeated."""
    delay = task.retry_delay_seconds or 0
    delays = list(delay) if isinstance(delay, list | tuple) else [delay]
    return [float(delays[min(n, len(delays) - 1)]) for n in range(task.retries or 0)]
