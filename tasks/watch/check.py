"""Served traffic against the champion's reference: signals, a decision, and the event it raises."""

from dataclasses import dataclass

import pandas as pd
from prefect import task

from models.registry import versions
from models.serving import prediction_store
from models.watching import decisions
from models.watching.signals import Action, WatchPolicy
from tasks.context import Context, open_context
from tasks.events import EventName, emit, was_answered
from tasks.predictions import load_version, served_predictions
from tasks.report.artifacts import publish_signals
from tasks.retries import is_transient_error


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def drain_traffic() -> int:
    """Copy what the service recorded into the database; return how many were new. Idempotent."""
    ctx = open_context()
    new = prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    print(f"{new} served predictions recorded")
    return new


@task(timeout_seconds=3600)
def check_window(policy: WatchPolicy) -> str | None:
    """Compare the newest window with the champion's reference; return the decision's id.

    None while too little traffic came since the last check. Idempotent: one decision a window.
    """
    ctx = open_context()
    model = versions.champion(ctx.engine)
    if model is None:
        print("no model is in service: nothing to watch")
        return None
    rows = prediction_store.window(
        ctx.engine,
        model=model,
        limit=policy.window,
        after_seq=decisions.checked_up_to(ctx.engine, model),
    )
    different = rows["sample_id"].nunique()
    if different < policy.min_rows and len(rows) < policy.window:
        print(f"{different} images served since the last check, {policy.min_rows} are needed")
        return None
    return _check(ctx, model, rows, policy)


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def act_on(decision_id: str | None) -> None:
    """Raise `hone.drift` when the decision asks for labels.

    Without a new decision: for the last one that asked for labels, when neither a round nor a run
    of `label-round` answered it. The event only wakes the next round: the decision in the database
    is what that round reads.
    """
    ctx = open_context()
    decision = _decision(decision_id) if decision_id else decisions.unanswered_drift(ctx.engine)
    if decision is None or decision.action != Action.LABEL_SERVED:
        return
    if decision_id is None and was_answered(ctx, "label-round", decision.decided_at):
        return
    payload = {"decision": decision.decision_id, "reason": decision.reason}
    emit(ctx, EventName.DRIFT, payload)


@dataclass(frozen=True)
class WatchSummary:
    """The result of a check: whether the traffic drifted, the action and its reason."""

    drift: bool
    action: str
    reason: str


def summary_of(decision_id: str | None) -> WatchSummary:
    """The summary of a decision; without one, the summary of too little traffic."""
    if decision_id is None:
        return WatchSummary(drift=False, action="none", reason="too little traffic")
    row = _decision(decision_id)
    return WatchSummary(
        drift=row.action == Action.LABEL_SERVED, action=row.action, reason=row.reason
    )


def _decision(decision_id: str) -> decisions.DecisionRecord:
    return decisions.find_decision(open_context().engine, decision_id)


def _check(ctx: Context, model: str, rows: pd.DataFrame, policy: WatchPolicy) -> str:
    from models.watching.detectors import decide, signals

    loaded = load_version(ctx, model)
    window = served_predictions(ctx, loaded, rows.drop_duplicates("sample_id"))
    reference = prediction_store.as_recorded(loaded.reference)
    measured = signals(reference, window, policy)
    decision = decide(measured, policy)
    decision_id = decisions.record_decision(
        ctx.engine,
        model=model,
        first_seq=int(rows["seq"].min()),
        last_seq=int(rows["seq"].max()),
        decision=decision,
        signals=measured,
    )
    publish_signals(model, measured, decision.reason)
    print(f"{decision.action}: {decision.reason}")
    return decision_id
