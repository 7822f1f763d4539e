"""A check of the served traffic: what was measured, what is decided, and the record of both."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prefect import task
from sqlalchemy import Connection

from core import journal
from core.database import now, writing
from models.registry import releases
from models.registry.halts import HaltPolicy, add_halt
from models.serving import prediction_store
from models.watching import decisions, incidents
from models.watching.decisions import Evaluation, Overtaken, WatchState
from models.watching.evidence import Combined
from models.watching.ladder import Evidence, LadderRules, Rung, Step, next_rung
from models.watching.signals import Action, Shift, Signal, WatchPolicy
from models.watching.triggers import Retraining, retraining
from tasks.context import open_context
from tasks.report.label_budget import labels_left, labels_of_batch
from tasks.retries import is_transient_error
from tasks.watch.cascade import without
from tasks.watch.diagnosis import Diagnosis, diagnose
from tasks.watch.exemplars import exemplars_of
from tasks.watch.incident_alert import alert_incident
from tasks.watch.measure import Measured, measure, restarted_states
from tasks.watch.standing import Circumstances, load_circumstances


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def drain_traffic() -> int:
    """Copy what the service recorded into the database; return how many were new. Idempotent."""
    ctx = open_context()
    new = prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    print(f"{new} served predictions recorded")
    return new


@task(
    timeout_seconds=3600,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_transient_error,
)
def check_window(policy: WatchPolicy) -> str | None:
    """Compare what was served since the last check with the reference; return the decision's id.

    None without a model in service, or when another check was faster. Decision, signals, the state
    of the detectors, incident and halt are one transaction: a check that was killed left nothing,
    and the next one looks at the same traffic.
    """
    ctx = open_context()
    model = releases.champion(ctx.engine)
    if model is None:
        print("no model is in service: nothing to watch")
        return None
    began = time.process_time()
    measured = measure(ctx, model, policy)
    diagnosis = diagnose(ctx, measured, policy)
    try:
        with writing(ctx.engine) as connection:
            _be_first(connection, measured)
            left = labels_left(ctx, connection)
            made = _decide(connection, measured, diagnosis, policy, began, left)
            decision_id = _record(connection, made)
    except Overtaken as error:
        print(error)
        return None
    for name, rows in without(measured.new.others, releases.current_release(ctx.engine)).items():
        print(f"{rows} predictions of {name}, which is not in service, are not tested")
    print(f"{made.evaluation.step}: {made.evaluation.reason}")
    return decision_id


def _be_first(connection: Connection, measured: Measured) -> None:
    """Let no other check decide meanwhile, on PostgreSQL either, and none on the same truths."""
    journal.lock(connection)
    after, before = decisions.load_state(connection, measured.model), measured.before
    if after.state.get("truths", 0) != before.state.get("truths", 0):
        raise Overtaken(f"truths about {measured.model} were looked at in the meantime")


@dataclass(frozen=True)
class _Made:
    """A decision before it is recorded, and what is recorded beside it."""

    evaluation: Evaluation
    rung: Rung
    state: WatchState
    circumstances: Circumstances
    opens: bool
    halt: HaltPolicy | None


def _decide(
    connection: Connection,
    measured: Measured,
    diagnosis: Diagnosis,
    policy: WatchPolicy,
    began: float,
    left: int | None,
) -> _Made:
    """The decision on what was measured, by the ladder and the triggers."""
    ladder = measured.before.state.get("ladder", {})
    around = load_circumstances(connection, measured.model, ladder, policy.cooldown_hours, left)
    evidence = evidence_of(measured, diagnosis)
    training = _training(around, evidence, policy)
    rules = LadderRules(policy.cooldown_hours, policy.halt, policy.halt_below)
    rung = next_rung(evidence, around.standing, rules, retrain=(training.due, training.sentence))
    troubled = evidence.alarm or evidence.is_blind or rung.step == Step.HALT
    opens = around.incident is None and troubled and rung.step.rank >= Step.LABEL.rank
    incident_id = around.incident.incident_id if around.incident else None
    evaluation = Evaluation(
        model=measured.model,
        first_seq=measured.before.last_seq + 1,
        last_seq=measured.new.last_seq if measured.traffic else measured.before.last_seq,
        action=_action(measured, rung),
        step=str(rung.step),
        reason=_reason(measured, evidence, rung),
        why=rung.why,
        why_not=(*measured.missing, *rung.why_not),
        kind=evidence.kind,
        cost=_cost(measured, rung, began, labels_of_batch(connection)),
        estimate=diagnosis.as_json(),
        exemplars=_exemplars(measured),
        evidence=evidence.log_evidence,
        threshold=evidence.threshold,
        spent=measured.combined.spent,
        incident_id=incidents.next_incident(connection) if opens else incident_id,
        signals=measured.signals,
    )
    state = WatchState(evaluation.last_seq, _next_state(measured, evidence, rung, ladder))
    halted = rung.step == Step.HALT and not around.standing.halted
    halt = HaltPolicy(policy.halt) if halted else None
    return _Made(evaluation, rung, state, around, opens, halt)


def evidence_of(measured: Measured, diagnosis: Diagnosis) -> Evidence:
    """What the ladder goes by."""
    combined = measured.combined
    return Evidence(
        log_evidence=max(combined.log_evidence, 0.0),
        threshold=combined.threshold,
        alarm=combined.alarm,
        measured=measured.is_measured,
        decay=combined.decay,
        declined=measured.declined,
        blind_checks=_blind_checks(measured),
        kind=None if diagnosis.kind is None else str(diagnosis.kind.kind),
        accuracy_high=_accuracy_high(measured, diagnosis),
        accuracy_source="estimated" if diagnosis.measured is None else "measured",
    )


def _accuracy_high(measured: Measured, diagnosis: Diagnosis) -> float | None:
    """The accuracy in service at best: what a front model answered counts as right.

    The champion's part of a cascade is the hard one, and its accuracy is not the service's.
    """
    if diagnosis.accuracy_high is None:
        return None
    return measured.share_in_front + (1 - measured.share_in_front) * diagnosis.accuracy_high


def _blind_checks(measured: Measured) -> int:
    """The checks in a row, up to this one, with traffic of which no signal could tell."""
    before = int(measured.before.state.get("ladder", {}).get("blind_checks", 0))
    if measured.is_measured:
        return 0
    return before + 1 if measured.is_blind else before


def _training(around: Circumstances, evidence: Evidence, policy: WatchPolicy) -> Retraining:
    new_drift = evidence.alarm and not around.standing.is_open
    declined = evidence.declined and (evidence.alarm or around.standing.is_open)  # in the budget
    facts = replace(
        around.facts,
        drift=around.facts.drift or new_drift,
        decay=declined if evidence.measured else None,
    )
    return retraining(
        facts,
        retrain_when=policy.retrain_when,
        max_model_age_days=policy.max_model_age_days,
        cooldown_hours=policy.cooldown_hours,
    )


def _record(connection: Connection, made: _Made) -> str:
    """Record a decision with all that follows from it, in one transaction; return its id."""
    evaluation, incident = made.evaluation, made.circumstances.incident
    decision_id = decisions.record_evaluation(connection, evaluation)
    decisions.save_state(connection, evaluation.model, made.state)
    incident_id = evaluation.incident_id
    if made.opens:
        incident_id = incidents.open_incident(
            connection,
            decision_id,
            model=evaluation.model,
            kind=evaluation.kind,
            step=evaluation.step,
        )
    elif incident is not None:
        _follow(connection, incident, decision_id, made)
    if made.halt is not None:
        why = f"{evaluation.reason} ({decision_id})"
        add_halt(connection, policy=made.halt, who=incidents.LOOP, why=why, decision_id=decision_id)
    if incident_id is not None and evaluation.kind is not None:
        incidents.name_kind(connection, incident_id, evaluation.kind)
    alert_incident(connection, evaluation, incident_id, opens=made.opens)
    return decision_id


def _follow(
    connection: Connection, incident: incidents.Incident, decision_id: str, made: _Made
) -> None:
    """Record in the open incident what this check changed."""
    step, name = made.evaluation.step, incident.incident_id
    released = incident.last("release")
    in_service = released.detail["model"] if released else incident.model
    if made.evaluation.model != in_service:
        detail = {"model": made.evaluation.model}
        incidents.add_event(connection, name, "release", incidents.LOOP, detail)
    if made.rung.ends:
        incidents.close_incident(connection, name, decision_id, "; ".join(made.rung.why))
    elif step != incident.step or made.rung.asks_for_labels or made.rung.retrains:
        detail = {"decision": decision_id, "step": step, "why": "; ".join(made.rung.why)}
        incidents.add_event(connection, name, "step", incidents.LOOP, detail)


def _action(measured: Measured, rung: Rung) -> Action:
    if rung.asks_for_labels:
        return Action.LABEL_SERVED
    if measured.is_blind:
        return Action.CANNOT_TELL
    return Action.NONE


def _reason(measured: Measured, evidence: Evidence, rung: Rung) -> str:
    """The decision as one sentence, or a few."""
    if not measured.signals:
        return "; ".join((*measured.missing, *rung.why)) + "."
    numbers = f"evidence {evidence.log_evidence:.1f} of {evidence.threshold:.1f}"
    if measured.is_blind and not evidence.alarm:
        silent = [one for one in measured.signals if one.outcome == Shift.UNKNOWN]
        doubts = "; ".join(f"{one.name}: {one.meaning}" for one in silent)
        return f"Cannot tell. {doubts}."
    strongest = _strongest(measured.signals, measured.combined)
    detail = "".join(f" {one.name}: {one.meaning}." for one in strongest)
    head = "The traffic has drifted" if evidence.alarm else "No drift"
    head += f" ({evidence.kind})" if evidence.kind else ""
    return f"{head}, {numbers}; {'; '.join(rung.why)}.{detail}"


def _strongest(signals: tuple[Signal, ...], combined: Combined) -> list[Signal]:
    by_name = {one.name: one for one in signals}
    ranked = [by_name[name] for name in combined.ranking if name in by_name]
    return [one for one in ranked if one.outcome != Shift.UNKNOWN][:2]


def _exemplars(measured: Measured) -> list[str]:
    if measured.traffic is None:
        return []
    return exemplars_of(measured.traffic, measured.signals, measured.combined.ranking)


def _cost(measured: Measured, rung: Rung, began: float, batch: int) -> dict[str, Any]:
    """What the decision costs: labels asked for, and processor time of the check."""
    return {
        "labels": batch if rung.asks_for_labels else 0,
        "training": rung.retrains,
        "rows": len(measured.traffic.rows) if measured.traffic else 0,
        "processor_seconds": round(time.process_time() - began, 3),
    }


def _next_state(
    measured: Measured, evidence: Evidence, rung: Rung, ladder: Mapping[str, Any]
) -> dict[str, Any]:
    """What the next check begins with; evidence that raised an alarm is gathered anew."""
    states = dict(measured.states)
    rise = int(ladder.get("rise", 0))
    if measured.is_measured:
        rise = rise + 1 if evidence.log_evidence > 0 else 0
    rise_checks = int(ladder.get("rise_checks", 1))
    if evidence.alarm:
        states = restarted_states(states)
        rise, rise_checks = 0, max(rise, 1)
    after: dict[str, Any] = {
        "calm_checks": rung.calm_checks,
        "blind_checks": evidence.blind_checks,
        "rise": rise,
        "rise_checks": rise_checks,
        "retrain_at": now() if rung.retrains else ladder.get("retrain_at"),
    }
    return {
        **measured.before.state,
        "detectors": states,
        "ladder": after,
        "truths": measured.truths,
    }
