"""The process that runs a flow run is put on record, so that its end can be known for sure."""

from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State

from core.locks import this_process
from tasks.operate.prefect_api import PROCESS


def record_process(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Label the run with this process and the state in which it runs; for `on_running` of a flow.

    Prefect itself records a process id without its machine, and none for a run in a terminal.
    """
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(flow_run.id, {PROCESS: f"{state.id} {this_process()}"})
