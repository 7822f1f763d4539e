"""The duel under way goes on: answers are counted, more are asked, or it ends with its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from sqlalchemy import Connection

from core.database import writing
from core.intents import begin_intent, commit_intent, open_intents
from core.locks import Token, only_writer
from labeling.consensus.settle import SettlePolicy
from labeling.ledger import duels
from labeling.ledger.duels import Duel
from labeling.ledger.samples import load_image_places
from models.judging.duel import DuelState
from models.judging.duel_record import DuelRecord
from models.judging.verdict import GatePolicy, Outcome, Verdict
from models.registry import releases, versions
from tasks.collect.fetch import fetch_answers
from tasks.collect.settle import settle_answers
from tasks.context import Context, open_context
from tasks.label.choose import send_batch
from tasks.operate.duel_standing import WAITING
from tasks.report.artifacts import publish_verdict
from tasks.report.duel_page import publish_duel
from tasks.report.verdict_view import Pair, verdict_lines, verdict_markdown
from tasks.retrain.duel import LOCK
from tasks.retrain.judge import judge
from tasks.retrain.release import package_release, release_winner
from tasks.retrain.reported import track_verdict
from tasks.retries import is_transient_error

if TYPE_CHECKING:
    import pandas as pd

NOTHING_LEFT = "not decided, and nothing is left to ask about"
RELEASE = "duel-release"  # kind of intent: a duel ended, and what it promotes is not released yet


@dataclass(frozen=True)
class Step:
    """What came of one look at the duel under way."""

    duel: Duel
    state: DuelState
    round_id: str | None = None  # to send
    verdict: Verdict | None = None  # the duel has ended
    verdict_id: str | None = None
    suspected: Sequence[str] = ()  # classes that may have fallen though the whole has gained


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def advance_duel(annotators: str) -> str | None:
    """Count what was answered, then ask on or end the duel; return the verdict of an ended one.

    Idempotent: an answer is counted once, a round is sent once, a duel ends once.
    """
    ctx = open_context()
    finish_releases(ctx)
    step = _step(ctx)
    if step is None:
        return None
    if step.round_id is not None:
        send_batch.fn(step.round_id, annotators)
    print(f"{step.duel.duel_id}: {'; '.join(step.state.reasons)}")
    if step.suspected:
        print(f"{step.duel.duel_id} goes on: {', '.join(step.suspected)} may have fallen")
    if step.verdict is not None:
        _publish(ctx, step.duel, step.verdict)
        finish_releases(ctx)
    return step.verdict_id


def _step(ctx: Context) -> Step | None:
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        duel = duels.open_duel(connection)
        if duel is None:
            return None
        record = DuelRecord.from_json(duel.plan)

        def value(row: Any, label: str) -> int:
            return record.value(row.champion_output, row.challenger_output, label)

        duels.count_answers(connection, token, duel.duel_id, value)
        samples = duels.load_duel_samples(connection, duel.duel_id)
        state = record.state(samples)
        stopped = _why_stopped(connection, duel)
        suspected = record.suspected(samples)
        if stopped is None and (state.outcome is None or suspected):
            round_id = duels.unsent_round(connection, duel.duel_id)
            if round_id is None and not duels.count_waiting(connection, duel.duel_id):
                round_id = _ask(connection, token, duel, state, record, samples)
                if round_id is None and not suspected:
                    stopped = NOTHING_LEFT
            if round_id is not None or duels.count_waiting(connection, duel.duel_id):
                return Step(duel, state, round_id, suspected=suspected)
        verdict = record.verdict(duel.duel_id, samples, stopped=stopped)
        verdict_id = _end(connection, token, duel, record, verdict)
        return Step(duel, state, None, verdict, verdict_id)


def _why_stopped(connection: Connection, duel: Duel) -> str | None:
    """Why the duel ends without an outcome of its own; None while it may go on."""
    in_service = releases.champion_of(connection)
    if in_service == duel.champion:
        return None
    return f"{duel.champion} was retired during the duel; {in_service or 'none'} is in service now"


def _ask(
    connection: Connection,
    token: Token,
    duel: Duel,
    state: DuelState,
    record: DuelRecord,
    samples: "pd.DataFrame",
) -> str | None:
    wanted = [name for name, is_wanted in state.next_answers.items() if is_wanted]
    if state.outcome is not None:  # it is about classes only
        wanted = list(state.next_answers)
    asked = int(samples["counted_at"].notna().sum())
    size = min(record.policy.duel_batch, record.plan.most_answers - asked)
    return None if size <= 0 else duels.ask_next(connection, token, duel, size, wanted)


def _end(
    connection: Connection,
    token: Token,
    duel: Duel,
    record: DuelRecord,
    verdict: Verdict,
) -> str:
    """Record the verdict and close the duel, with the intent to release what it promotes."""
    row = versions.judged_row(
        verdict,
        challenger=duel.challenger,
        champion=duel.champion,
        snapshot=duel.snapshot,
        rows_fingerprint=record.rows_fingerprint,
    )
    verdict_id = versions.insert_verdict(connection, row)
    duels.end_duel(connection, token, duel, outcome=verdict.outcome, verdict_id=verdict_id)
    if verdict.outcome == Outcome.PROMOTE and duel.approval == "verdict":
        payload = {"verdict_id": verdict_id}
        begin_intent(connection, token, kind=RELEASE, key=duel.duel_id, payload=payload)
    return verdict_id


def finish_releases(ctx: Context) -> None:
    """Release and package what ended duels promote. Idempotent: until both are done it is tried."""
    with ctx.engine.connect() as connection:
        intended = open_intents(connection, RELEASE)
    for duel_id, payload in intended.items():
        try:
            version = release_winner.fn(payload["verdict_id"])
        except releases.Superseded as error:
            print(f"{duel_id} is not released: {error}")
            version = None
        if version is not None:
            package_release.fn(version)
        with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
            outcome = version or "superseded"
            commit_intent(connection, token, kind=RELEASE, key=duel_id, outcome=outcome)


def _publish(ctx: Context, duel: Duel, verdict: Verdict) -> None:
    with ctx.engine.connect() as connection:
        samples = duels.load_duel_samples(connection, duel.duel_id)
        places = load_image_places(connection, samples["sample_id"].tolist())
    record = DuelRecord.from_json(duel.plan)
    publish_duel(duel.duel_id, record, samples, places, ctx.workspace.shards)
    track_verdict(ctx, duel.challenger, verdict)
    pair = Pair(duel.challenger, duel.champion, duel.snapshot)
    publish_verdict(verdict_markdown(verdict, pair), challenger=duel.challenger)
    for line in verdict_lines(verdict, pair):
        print(line)


@task(timeout_seconds=24 * 3600)
def play_duel(annotators: str, settling: SettlePolicy) -> str | None:
    """Send what a duel asks first; where annotators answer at once, go on until it ends.

    Returns the verdict, None while people answer.
    """
    verdict_id = advance_duel.fn(annotators)
    while verdict_id is None and annotators == "simulated" and _is_under_way():
        fetch_answers.fn(annotators, settling)
        settle_answers.fn(settling)
        verdict_id = advance_duel.fn(annotators)
    return str(verdict_id) if verdict_id else None


def _is_under_way() -> bool:
    with open_context().engine.connect() as connection:
        return duels.open_duel(connection) is not None


@task(timeout_seconds=6 * 3600)
def judge_waiting(annotators: str) -> str | None:
    """Judge the newest challenger that waited for a duel to end; return its verdict, if there is.

    Older ones are not judged: the newest learnt from more labels. Idempotent.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        waiting = open_intents(connection, WAITING)
        if not waiting or duels.open_duel(connection) is not None:
            return None
    *older, challenger = waiting
    about = waiting[challenger]
    print(f"{challenger} waited and is judged now" + "".join(f"; {one} is not" for one in older))
    policy, approval = GatePolicy(**about["policy"]), about["approval"]
    verdict_id = judge.fn(challenger, about["snapshot"], policy, approval, annotators)
    if verdict_id is None:
        advance_duel.fn(annotators)
    elif approval == "verdict" and (version := release_winner.fn(verdict_id)) is not None:
        package_release.fn(version)
    with only_writer(ctx.engine, LOCK) as token, writing(ctx.engine) as connection:
        for one in waiting:
            outcome = verdict_id or "duel" if one == challenger else f"{challenger} is newer"
            commit_intent(connection, token, kind=WAITING, key=one, outcome=outcome)
    return verdict_id
