"""The trial of a challenger goes on, or ends: decided in a check of the traffic, and recorded."""

from typing import Any

from prefect import task
from sqlalchemy import Connection

from core import journal
from core.database import writing
from models.registry.bento import has_bento
from models.registry.challengers import end_challenger, set_challenger
from models.registry.releases import (
    Action,
    Mode,
    Release,
    Superseded,
    release,
    release_rows,
    tenure_of,
)
from models.registry.versions import AUTOMATIC
from models.rollout.policy import FULL
from models.rollout.spool import drain_shadow
from models.rollout.standing import TrialStanding, check_trial
from models.rollout.steps import Move
from models.rollout.trial import newest_abort
from models.watching import decisions, incidents
from models.watching.alerts import Alert, Kind, raise_alert
from models.watching.decisions import Evaluation
from models.watching.ladder import Step
from models.watching.signals import Action as WatchAction
from tasks.context import Context, open_context
from tasks.operate.trial_standing import strata_of
from tasks.retries import is_transient_error


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def advance_trial() -> str | None:
    """Look at what services recorded of a trial and take its next step, if one is due.

    Returns the version that this put into full service; None otherwise. Idempotent: what was
    looked at is looked at once, a step is one row of the release record, and what follows from an
    abort is recorded by the next check if this one is killed before.
    """
    ctx = open_context()
    drain_shadow(ctx.engine, ctx.workspace.traffic)
    with ctx.engine.connect() as connection:
        rows = release_rows(connection)
    if newest_abort(rows) is not None:
        report_abort(ctx)
    if not rows or rows[-1].challenger is None:
        return None
    with writing(ctx.engine) as connection:
        journal.lock(connection)  # one check at a time, on PostgreSQL either
        standing = check_trial(connection, ctx.policies.release, strata_of(connection))
    if standing is None:
        return None
    print(standing.sentence())
    try:
        return _act(ctx, standing)
    except Superseded as error:  # a person was faster: the next check looks at what is then
        print(error)
        return None


def unpackaged() -> str | None:
    """The champion that its trial put in service, if it has no bento: as after a kill."""
    ctx = open_context()
    with ctx.engine.connect() as connection:
        current = tenure_of(connection)
    if current is None or current.who != AUTOMATIC or current.evidence is None:
        return None
    return None if has_bento(ctx.workspace, current.champion) else current.champion


def _act(ctx: Context, standing: TrialStanding) -> str | None:
    trial, move = standing.trial, standing.move
    why = "; ".join(move.why)
    about: dict[str, Any] = {"who": AUTOMATIC, "why": why, "expected": trial.current}
    if move.move == Move.ABORT:
        end_challenger(ctx.engine, **about, action=Action.ABORT, evidence=standing.evidence())
        print(f"{trial.challenger} is withdrawn, {trial.champion} answers alone: {why}")
        report_abort(ctx)
    elif move.move == Move.ADVANCE and move.step == FULL:
        release(
            ctx.engine,
            version=trial.challenger,
            verdict_id=standing.verdict_id,
            **about,
            evidence=standing.evidence(),
        )
        print(f"{trial.challenger} is in service: {why}")
        return trial.challenger
    elif move.move == Move.ADVANCE:
        share = float(ctx.policies.release.canary_share)
        set_challenger(
            ctx.engine,
            version=trial.challenger,
            mode=Mode.CANARY,
            share=share,
            verdict_id=standing.verdict_id,
            **about,
            evidence=standing.evidence(),
        )
        print(f"{trial.challenger} answers {share:g} % of the clients: {why}")
    return None


def report_abort(ctx: Context) -> None:
    """Raise the alert of the newest abort and record it as an incident, once."""
    with writing(ctx.engine) as connection:
        newest = newest_abort(release_rows(connection))
        if newest is None:
            return
        before, ended = newest
        about = f"release {ended.number}"
        alert = Alert(
            about=about,
            kind=Kind.ABORT,
            key="abort",
            title=f"{before.challenger} was withdrawn from {before.mode}",
            body=f"{ended.why}\n{ended.champion} answers alone (release {ended.number}).",
            command="hone status",
            is_event=True,
        )
        if raise_alert(connection, alert) is not None:
            _record_incident(connection, before, ended)


def _record_incident(connection: Connection, before: Release, ended: Release) -> None:
    """An event of the incident that is open; else an incident that begins and ends with it."""
    detail = {"release": ended.number, "model": before.challenger, "why": ended.why}
    current = incidents.open_incident_of(connection)
    if current is not None:
        incidents.add_event(connection, current.incident_id, "abort", AUTOMATIC, detail)
        return
    last = decisions.load_state(connection, ended.champion).last_seq
    incident_id = incidents.next_incident(connection)
    made = Evaluation(
        model=ended.champion,
        first_seq=last + 1,
        last_seq=last,
        action=WatchAction.NONE,
        step=str(Step.ALERT),
        reason=f"{before.challenger} was withdrawn from {before.mode}: {ended.why}",
        why=(ended.why,),
        incident_id=incident_id,
    )
    decision_id = decisions.record_evaluation(connection, made)
    incidents.open_incident(
        connection, decision_id, model=ended.champion, kind=None, step=str(Step.ALERT)
    )
    incidents.add_event(connection, incident_id, "abort", AUTOMATIC, detail)
    ending = f"the champion {ended.champion} answers alone since release {ended.number}"
    incidents.close_incident(connection, incident_id, decision_id, ending)
