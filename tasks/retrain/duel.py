"""A challenger to a duel: what it and the champion answer differently, drawn and recorded."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from core.database import writing
from core.intents import begin_intent
from core.locks import LockBusy, only_writer
from core.masking import MaskerFails
from labeling.audit.membership import make_key
from labeling.batches.disagreements import (
    MOST_SCORED,
    POOL,
    Disagreements,
    find_disagreements,
    in_random_order,
    split_populations,
)
from labeling.ledger import duels, rounds
from labeling.ledger.duels import Duel
from models.judging.alpha_spending import alpha_of
from models.judging.duel import DuelPlan, Stratum
from models.judging.duel_record import BY_ANSWERS, DuelRecord, may_be_decided_by_answers
from models.judging.evidence import Mode
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy, Verdict
from models.registry.releases import champion as champion_in_service
from models.registry.versions import evidence_number
from models.rollout.spool import drain_shadow
from models.rollout.store import has_shadowed
from models.serving.erasures import drawn_by_chance
from tasks.audit_rows import answered_in_service
from tasks.context import Context
from tasks.ingest import adopt_traffic
from tasks.operate.duel_standing import WAITING
from tasks.predictions import predict_with

if TYPE_CHECKING:
    from tasks.retrain.gather import GateRows

NO_ROWS = ""  # instead of a fingerprint of audit rows: the answers are new ones
LOCK = "rounds"  # what is drawn for a duel and what a batch takes come out of one pool


def duel_with_champion(ctx: Context, challenger: str) -> Duel | None:
    """The duel of a challenger with what is in service, ended or not; None without one."""
    champion = champion_in_service(ctx.engine)
    if champion is None:
        return None
    with ctx.engine.connect() as connection:
        return duels.duel_between(connection, champion=champion, challenger=challenger)


def waits_for_other(
    ctx: Context, challenger: str, snapshot: str, policy: GatePolicy, approval: str
) -> bool:
    """Whether another duel is under way: then it is recorded that the challenger waits for its end.

    One at a time: two duels beside each other would ask annotators about the same samples.
    """
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        other = duels.open_duel(connection)
        if other is None:
            return False
        payload = {"snapshot": snapshot, "policy": asdict(policy), "approval": approval}
        begin_intent(connection, token, kind=WAITING, key=challenger, payload=payload)
    print(f"{challenger} is judged when {other.duel_id} has ended, or a newer one in its place")
    return True


def begin_if_open(
    ctx: Context, gate: "GateRows", evidence: Evidence, verdict: Verdict, policy: GatePolicy,
    approval: str,
) -> Duel | None:  # fmt: skip
    """The duel that decides what a verdict leaves open; None where the verdict stands.

    It stands where something else holds the challenger back, and where nobody can be asked about
    anything on which the two differ.
    """
    if evidence.champion is None or not may_be_decided_by_answers(verdict):
        return None
    if not policy.most_answers:
        return None
    champion, challenger = evidence.champion.version, evidence.challenger.version
    excluded = evidence.champion.training_groups | evidence.challenger.training_groups
    drawn, classes = draw_disagreements(ctx, champion, challenger, excluded=excluded, policy=policy)
    if drawn.drawn.empty:
        print(f"{_nothing_to_ask(champion, challenger, drawn)}: the audit decides")
        return None
    record = DuelRecord(
        plan=plan_of(drawn, policy, _number(ctx, champion, challenger)),
        policy=policy,
        kind=ctx.workspace.kind,
        champion=champion,
        challenger=challenger,
        champion_classes=classes[champion],
        challenger_classes=classes[challenger],
        criteria=tuple(one for one in verdict.criteria if one.name not in BY_ANSWERS),
        metrics={name: value for name, value in verdict.metrics.items() if name != "criteria"},
        rows_fingerprint=_fingerprint(gate.fingerprint, drawn),
    )
    return begin_duel(ctx, record, drawn, snapshot=gate.snapshot, approval=approval)


def _nothing_to_ask(champion: str, challenger: str, drawn: Disagreements) -> str:
    if not sum(drawn.scored.values()):
        return f"there is no sample that neither {champion} nor {challenger} was trained on"
    return f"{champion} and {challenger} answer alike on what may be asked"


def _fingerprint(audit_rows: str, drawn: Disagreements) -> str:
    """Of the audit rows and of what is asked: it is another test than that of the audit alone."""
    words = [audit_rows, *drawn.drawn["sample_id"]]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _number(ctx: Context, champion: str, challenger: str) -> int:
    """A number of its own in the life of the workspace: no verdict rests on these answers yet."""
    return evidence_number(
        ctx.engine, challenger=challenger, champion=champion, rows_fingerprint=NO_ROWS
    )


def draw_disagreements(
    ctx: Context,
    champion: str,
    challenger: str,
    *,
    excluded: frozenset[str],
    policy: GatePolicy,
) -> tuple[Disagreements, dict[str, tuple[str, ...]]]:
    """What the two answer differently, of the populations that the gate names; their classes.

    `excluded` are the groups that either was trained on. Where the challenger has been in shadow,
    what was served is among the samples by then, so that its disagreements in use are candidates.
    """
    _take_in_shadowed(ctx, champion, challenger)
    with ctx.engine.connect() as connection:
        pool = rounds.load_pool(connection)
        duel_id = duels.duel_name(duels.new_number(connection))
        answered = answered_in_service(connection, champion, pool["sample_id"].tolist())
        served = drawn_by_chance(connection, answered)
    with writing(ctx.engine) as connection:
        key = make_key(connection)
    parts = split_populations(pool, served, excluded=excluded)
    scored = {
        name: in_random_order(rows, key, duel=duel_id).head(MOST_SCORED)
        for name, rows in parts.items()
        if len(rows) and policy.population in (name, "both")
    }
    outputs, classes = {}, {}
    for version in (champion, challenger):
        outputs[version], classes[version] = _answers(ctx, version, scored)
    result = find_disagreements(
        scored, outputs[champion], outputs[challenger], most=policy.most_answers
    )
    return result, classes


def _take_in_shadowed(ctx: Context, champion: str, challenger: str) -> None:
    """Make samples of all that was served, alike and different: the share stays an honest one."""
    drain_shadow(ctx.engine, ctx.workspace.traffic)
    with ctx.engine.connect() as connection:
        if not has_shadowed(connection, champion, challenger):
            return
    try:
        adopt_traffic.fn()
    except (LockBusy, MaskerFails) as busy:  # an ingest of hours: the duel has what is there by now
        print(f"what was served since the last ingest is not in the duel: {busy}")


def begin_duel(
    ctx: Context,
    record: DuelRecord,
    disagreements: Disagreements,
    *,
    snapshot: str,
    approval: str,
) -> Duel:
    """Record the duel; what left the pool meanwhile counts as no evidence at its turn.

    Idempotent: two models have one duel, begun or ended.
    """
    pair = {"champion": record.champion, "challenger": record.challenger}
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        known = duels.duel_between(connection, **pair)
        if known is not None:
            return known
        return duels.begin_duel(
            connection,
            token,
            **pair,
            snapshot=snapshot,
            plan=record.as_json(),
            approval=approval,
            drawn=disagreements.drawn,
        )


def plan_of(disagreements: Disagreements, policy: GatePolicy, number: int) -> DuelPlan:
    """What is fixed before the first answer."""
    strata = tuple(
        # The pool is all that came in; what was served stands for what will be.
        Stratum(
            name,
            scored,
            disagreements.disagreements[name],
            whole=name == POOL and scored < MOST_SCORED,
        )
        for name, scored in disagreements.scored.items()
    )
    return DuelPlan(
        number=number,
        alpha=alpha_of(number, policy.life_alpha),
        mode=Mode(policy.mode),
        margin=policy.margin,
        min_gain=policy.min_gain,
        most_answers=policy.most_answers,
        strata=strata,
        life_alpha=policy.life_alpha,
    )


def _answers(
    ctx: Context, version: str, scored: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, tuple[np.ndarray, list[str]]], tuple[str, ...]]:
    """The outputs and the labels that a model gives the rows of each population; its classes."""
    answers = {}
    classes: tuple[str, ...] = ()
    for name, rows in scored.items():
        model, predictions = predict_with(ctx, version, rows)
        classes = tuple(model.card.classes)
        given = model.card.label_kind.answers(predictions.outputs, classes)
        answers[name] = predictions.outputs, [one.label for one in given]
    return answers, classes
