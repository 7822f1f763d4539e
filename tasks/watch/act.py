"""What follows from a decision: the events that start flows, and the pages that show it."""

from dataclasses import dataclass

from prefect import task

from models.watching import decisions
from models.watching.decisions import DecisionRecord
from models.watching.ladder import Step
from models.watching.signals import Action
from tasks.context import open_context
from tasks.events import EventName, emit, was_answered
from tasks.report.artifacts import publish_signals
from tasks.report.incident_files import publish_incident
from tasks.retries import is_transient_error
from tasks.watch.pictures import exemplar_strip

ALARMING = (Step.LABEL, Step.ALERT, Step.HALT)


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def act_on(decision_id: str | None) -> None:
    """Raise the events of a decision: `hone.drift` asks for labels, `hone.retrain` for a training.

    A decision that asked for labels and that neither a round nor a run of `label-round` answered
    is raised again. An event only wakes a flow: the decision in the database is what it reads.
    """
    ctx = open_context()
    if decision_id is not None:
        decision = decisions.find_decision(ctx.engine, decision_id)
        strip = exemplar_strip(ctx, decision.exemplars or ())
        publish_signals(decision.model, decision.signals, decision.reason, strip)
        if decision.incident_id is not None:
            publish_incident(ctx, decision.incident_id)
        if (decision.cost or {}).get("training"):
            emit(ctx, EventName.RETRAIN, _payload(decision))
        if decision.action == Action.LABEL_SERVED:
            emit(ctx, EventName.DRIFT, _payload(decision))
            return
    waiting = decisions.unanswered_drift(ctx.engine)
    if waiting is not None and not was_answered(ctx, "label-round", waiting.decided_at):
        emit(ctx, EventName.DRIFT, _payload(waiting))


def _payload(decision: DecisionRecord) -> dict[str, str]:
    return {"decision": decision.decision_id, "reason": decision.reason}


@dataclass(frozen=True)
class WatchSummary:
    """The result of a check: whether the traffic drifted, the action and its reason."""

    drift: bool
    action: str
    reason: str
    step: str = "none"


def summary_of(decision_id: str | None) -> WatchSummary:
    """The summary of a decision; without one, the summary of too little traffic."""
    if decision_id is None:
        return WatchSummary(drift=False, action="none", reason="no model is in service")
    row = decisions.find_decision(open_context().engine, decision_id)
    drift = row.action == Action.LABEL_SERVED or row.step in ALARMING
    return WatchSummary(drift, row.action, row.reason, row.step or "none")
