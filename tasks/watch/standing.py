"""How the open incident stands, and what is known of trainings: what a decision goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from core.database import now
from labeling.ledger.overview import RoundProgress, round_progress, snapshot_names
from labeling.snapshots.publish import (
    count_changed_labels,
    newest_snapshot,
    snapshot_time,
    teachers,
)
from models.registry.halts import halt_of, last_halt
from models.registry.releases import champion_of, tenure_of
from models.registry.versions import model_times, snapshot_of
from models.watching.decisions import DecisionRecord, last_asking
from models.watching.incidents import Incident, open_incident_of
from models.watching.ladder import Standing, Step
from models.watching.triggers import RetrainFacts, missing_answers
from tasks.context import Context
from tasks.report.label_budget import labels_left, labels_of_batch


@dataclass(frozen=True)
class Circumstances:
    """The incident, and what the ladder and the triggers are given of the past."""

    incident: Incident | None
    standing: Standing
    facts: RetrainFacts


def load_circumstances(
    connection: Connection,
    model: str,
    ladder: Mapping[str, Any],
    cooldown_hours: float,
    labels_left: int | None = None,
) -> Circumstances:
    """What is known when a check decides; `ladder` is what the last check left in the state.

    `labels_left` is what the label budget has; None: there is no limit.
    """
    at = now()
    incident = open_incident_of(connection)
    asking = _asking(connection, incident, at, cooldown_hours)
    progress = None
    if asking is not None and asking.answered_by is not None:
        progress = round_progress(connection, asking.answered_by)
    release = tenure_of(connection)
    retrained = _knows(connection, model, asking, progress)
    halted = halt_of(connection) is not None
    last, lifted = last_halt(connection), None
    if last is not None and last.lifted_at is not None:
        lifted = hours_between(last.lifted_at, at)
    standing = Standing(
        step=_step(incident, halted=halted),
        calm_checks=int(ladder.get("calm_checks", 0)),
        rise_checks=int(ladder.get("rise_checks", 1)),
        hours_since_labels=hours_between(asking.decided_at, at) if asking else None,
        round_id=asking.answered_by if asking else None,
        asked=progress.asked if progress else 0,
        answered=progress.answered if progress else 0,
        retrained=retrained,
        hours_since_release=hours_between(release.released_at, at) if release else None,
        halted=halted,
        hours_since_resume=lifted,
        unpaid=_unpaid(labels_left, labels_of_batch(connection)),
    )
    return Circumstances(incident, standing, _facts(connection, standing, progress, ladder, at))


def _unpaid(labels_left: int | None, size: int) -> str | None:
    """Why a batch that answers a drift cannot be paid for; None where it can."""
    if labels_left is None or labels_left >= size:
        return None
    left = f"the label budget has {labels_left} left"
    return f"a batch asks for {size} labels and {left}: `hone budget --labels` grants more"


def print_awaited_answers(ctx: Context) -> None:
    """Print which answers an open drift waits for: a training without them learns nothing of it."""
    with ctx.engine.connect() as connection:
        model = champion_of(connection)
        if model is None:
            return
        hours = ctx.policies.watch.cooldown_hours
        left = labels_left(ctx, connection)
        facts = load_circumstances(connection, model, {}, hours, left).facts
    awaited = missing_answers(facts) if facts.drift else None
    if awaited is not None:
        print(f"the drift of the traffic is not learnt yet: it waits for {awaited}")


def hours_between(first: str, last: str) -> float:
    """The hours from one moment to another, as the database has them."""
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 3600


def _step(incident: Incident | None, *, halted: bool) -> Step:
    """The step that the incident stands at; a halt that was lifted leaves the alert."""
    step = Step(incident.step) if incident else Step.NONE
    return Step.ALERT if step == Step.HALT and not halted else step


def _asking(
    connection: Connection, incident: Incident | None, at: str, cooldown_hours: float
) -> DecisionRecord | None:
    """The last decision that asked for labels: of this incident, or within the cool-down."""
    asking = last_asking(connection)
    if asking is None:
        return None
    mine = incident is not None and asking.incident_id == incident.incident_id
    return asking if mine or hours_between(asking.decided_at, at) < cooldown_hours else None


def _knows(
    connection: Connection,
    model: str,
    asking: DecisionRecord | None,
    progress: RoundProgress | None,
) -> bool:
    """Whether the champion was trained on the answers that the incident was answered with."""
    if asking is None or progress is None or asking.model == model:
        return False
    return _has_answers(connection, snapshot_of(connection, model), progress)


def _has_answers(connection: Connection, snapshot: str | None, progress: RoundProgress) -> bool:
    """Whether a snapshot was cut after the last answer of a round."""
    if snapshot not in snapshot_names(connection) or progress.last_answer_at is None:
        return False
    return snapshot_time(connection, str(snapshot)) >= progress.last_answer_at


def _facts(
    connection: Connection,
    standing: Standing,
    progress: RoundProgress | None,
    ladder: Mapping[str, Any],
    at: str,
) -> RetrainFacts:
    taught = teachers(connection)  # a student for a cascade answers no drift
    trained = {name: at for name, at in model_times(connection).items() if name not in taught}
    newest = newest_snapshot(connection)
    untrained = newest if newest is not None and newest not in trained else None
    last = max([*trained.values(), *filter(None, [ladder.get("retrain_at")])], default=None)
    since_release = standing.hours_since_release
    return RetrainFacts(
        drift=standing.is_open and not standing.retrained,
        age_days=None if since_release is None else since_release / 24,
        round_id=standing.round_id,
        asked=standing.asked,
        answered=standing.answered,
        unpaid=standing.unpaid,
        untrained=untrained,
        snapshot_has_answers=progress is not None and _has_answers(connection, untrained, progress),
        changed_labels=count_changed_labels(connection),
        hours_since_training=hours_between(last, at) if last else None,
    )
