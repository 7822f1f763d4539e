"""Runs of a deployment that wait for the one in progress, and which of them are still needed.

A deployment runs one flow run at a time, and the others wait (`collision_strategy: ENQUEUE` in
prefect.yaml). The run that starts next reads the newest state, so it does the work of all that a
schedule or an event asked for meanwhile with the same parameters. A run that a person asked for
always runs.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.types._datetime import now

BY_ITSELF = ("SCHEDULE", "AUTOMATION")  # Prefect's types of makers of runs that are no person
PAGE = 200  # runs in one answer of the server


def cancel_covered_runs(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the waiting runs whose work the run that starts now does; for `on_running` of a flow.

    They were due before it started, have its deployment and parameters, and no person asked for
    them. So runs that fall due during a long run, or while no worker runs, become one run.
    """
    if flow_run.deployment_id is None:
        return
    with get_client(sync_client=True) as client:
        for run in list(_covered_runs(client, flow_run, flow_run.deployment_id)):
            message = f"{flow_run.name} started after this run was due and does its work"
            covered: State[Any] = State(type=StateType.CANCELLED, name="Covered", message=message)
            client.set_flow_run_state(run.id, covered)


def _covered_runs(
    client: SyncPrefectClient, flow_run: FlowRun, deployment_id: UUID
) -> Iterator[FlowRun]:
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": now("UTC")}),
    )
    offset = 0
    while runs := client.read_flow_runs(flow_run_filter=waiting, limit=PAGE, offset=offset):
        for run in runs:
            if run.id != flow_run.id and _is_covered(run, flow_run):
                yield run
        offset += len(runs)


def _is_covered(run: FlowRun, by: FlowRun) -> bool:
    made_by_itself = run.created_by is not None and run.created_by.type in BY_ITSELF
    return made_by_itself and run.parameters == by.parameters
