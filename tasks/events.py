"""The events that flows are started by, and the one way to raise them.

An event only wakes a flow: what the flow acts on is in the database or in Label Studio. Whoever
raised one that no run answered raises it again.
"""

from collections.abc import Mapping
from enum import StrEnum

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event, RelatedResource, Resource
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from core.database import now
from tasks.context import Context
from tasks.operate.prefect_api import connect

WORKSPACE = "hone.workspace"  # the resource that the triggers in prefect.yaml match


class EventName(StrEnum):
    """What happened in a workspace."""

    ANSWERS = "hone.answers"  # annotators answered in Label Studio; no payload
    LABELS_READY = "hone.labels-ready"  # a snapshot can be trained on; payload: snapshot
    DRIFT = "hone.drift"  # served traffic drifted; payload: decision, reason
    RETRAIN = "hone.retrain"  # a training is due; payload: decision, reason
    DAMAGED = "hone.workspace-damaged"  # a promise is broken; payload: findings (a count), first


def emit(ctx: Context, name: EventName, payload: Mapping[str, str] | None = None) -> bool:
    """Raise an event; return whether there is a Prefect server that took it.

    Without a server (PREFECT_API_URL) nothing waits for events, and none is raised. A server that
    does not take the event is a `ConnectionError`.
    """
    address = PREFECT_API_URL.value()
    if not address:
        return False
    event = Event(
        event=name.value,
        resource=Resource({"prefect.resource.id": WORKSPACE, "hone.title": ctx.workspace.title}),
        related=_run_that_emits(),
        payload=dict(payload or {}),
    )
    try:
        with get_client(sync_client=True) as client:
            body = [event.model_dump(mode="json")]
            client.request("POST", "/events", json=body).raise_for_status()  # type: ignore[arg-type]
    except httpx.HTTPError as error:
        raise ConnectionError(
            f"Prefect at {address} takes no events ({error}); start it with "
            "`prefect server start`, or correct PREFECT_API_URL"
        ) from error
    return True


def was_answered(ctx: Context, flow: str, since: str) -> bool:
    """Whether a run of the flow fell due since then, or no server can have lost an event.

    A server that is killed forgets the events that it took and did not act on.
    """
    if not ctx.settings.prefect_api_url:
        return True
    with connect(ctx.settings) as api:
        return bool(api.runs(flow, expected_start_time={"after_": since, "before_": now()}))


def _run_that_emits() -> list[RelatedResource]:
    """The flow run that raises the event, if one does, so that Prefect shows the event with it."""
    if not flow_run.id:
        return []
    run = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}"}
    return [RelatedResource({**run, "prefect.resource.role": "flow-run"})]
