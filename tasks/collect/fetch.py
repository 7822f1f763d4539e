"""Answers come in, become labels, and the labels are frozen as a snapshot."""

import pandas as pd
from prefect import task

from core.database import writing
from core.locks import Token, only_writer
from labeling import simulation
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import unanswered
from labeling.kinds import KINDS
from labeling.ledger import overview, rounds
from labeling.ledger.answers import record_answers, refuse_lost_classes
from labeling.ledger.reasons import RELABEL_REASONS
from labeling.ledger.watermarks import save_watermark, watermark_of
from labeling.studio import client
from labeling.studio.protocol import Collected
from tasks.context import Context, open_context
from tasks.label.choose import studio_address
from tasks.retries import is_transient_error


@task(
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=3600,
)
def fetch_answers(annotators: str, settling: SettlePolicy) -> dict[str, int]:
    """Record every answer since the last time; return how many were new, withdrawn, refused.

    Idempotent: the watermark moves with the answers, and a known version is not recorded again.
    """
    ctx = open_context()
    with ctx.engine.connect() as connection:
        refuse_lost_classes(connection, ctx.workspace.class_names, KINDS[ctx.workspace.kind])
    with only_writer(ctx.engine, "answers") as token:
        if annotators == "simulated":
            counts = _simulate(ctx, token, settling)
        elif _has_no_annotators(ctx):
            print("no Label Studio is set and no assignment is open: nothing to fetch")
            return {}
        else:
            counts = _fetch(ctx, token)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return counts


def _has_no_annotators(ctx: Context) -> bool:
    """A workspace of imported labels only needs no Label Studio to cut its snapshots."""
    with ctx.engine.connect() as connection:
        return ctx.settings.label_studio_url is None and overview.count_open(connection) == 0


def _fetch(ctx: Context, token: Token) -> dict[str, int]:
    """Take over what changed since the last time, and what deleted tasks leave behind."""
    with client.connect(**studio_address(ctx)) as studio:
        studio.project(ctx.workspace, bucket=ctx.image_bucket)
        with ctx.engine.connect() as connection:
            since = watermark_of(connection, studio.source)
        counts = _record(ctx, token, studio.source, studio.answers_since(since))
        if gone := _deleted(ctx, studio):
            rounds.record_deleted(ctx.engine, token, gone)
            left = studio.answers_to(sorted({sample_id for sample_id, _ in gone}))
            more = _record(ctx, token, studio.source, left)
            counts = {what: count + more[what] for what, count in counts.items()}
        with writing(ctx.engine) as connection:
            save_watermark(connection, f"{studio.source}:tasks", str(studio.size()))
    return {**counts, "deleted in Label Studio": len(gone)}


def _record(ctx: Context, token: Token, source: str, collected: Collected) -> dict[str, int]:
    return record_answers(
        ctx.engine,
        token,
        collected.answers,
        source=source,
        read=collected.read,
        refused=collected.refused,
        classes=ctx.workspace.class_names,
        kind=KINDS[ctx.workspace.kind],
        watermark=collected.watermark,
    )


def _deleted(ctx: Context, studio: client.Studio) -> set[tuple[str, str]]:
    """Assignments whose task is gone; those that ended are looked for when tasks got fewer."""
    with ctx.engine.connect() as connection:
        before = int(watermark_of(connection, f"{studio.source}:tasks") or 0)
        sent = rounds.load_sent(connection, open_only=studio.size() >= before)
    return studio.deleted(sent)


def _simulate(ctx: Context, token: Token, settling: SettlePolicy) -> dict[str, int]:
    """Have simulated annotators answer what is open, and again where they disagree."""
    total = {"withdrawn": 0, "new": 0, "refused": 0}
    classes, kind = ctx.workspace.class_names, KINDS[ctx.workspace.kind]
    for attempt in range(simulation.ATTEMPTS):
        with ctx.engine.connect() as connection:
            sent = rounds.open_assignments(connection).dropna(subset="sent_at")
            fresh, disputed = unanswered(connection, sent, settling, classes, kind)
        asked = disputed if attempt else fresh
        if asked.empty and attempt:
            break
        again = asked["reason"].isin(RELABEL_REASONS).rename("again")
        for (round_id, is_again), part in asked.groupby(["round_id", again]):
            # A review of a label has mistakes of its own, not the old one again.
            number = attempt + simulation.ATTEMPTS * rounds.round_number(str(round_id)) * bool(
                is_again
            )
            counts = _answer_round(ctx, token, str(round_id), part, number)
            total = {what: total[what] + count for what, count in counts.items()}
    return total


def _answer_round(
    ctx: Context, token: Token, round_id: str, asked: pd.DataFrame, attempt: int
) -> dict[str, int]:
    truths, annotators, seed = simulation.load_simulation(ctx.workspace.root)
    given = simulation.simulate_answers(
        truths[truths.index.isin(asked["sample_id"])],
        ctx.workspace.class_names,
        annotators,
        seed=seed,
        attempt=attempt,
        round_id=round_id,
    )
    return record_answers(
        ctx.engine,
        token,
        given,
        source=simulation.SOURCE,
        read=set(),  # nobody deletes anything there
        classes=ctx.workspace.class_names,
        kind=KINDS[ctx.workspace.kind],
    )
