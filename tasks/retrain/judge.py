"""Challenger to verdict: both models on the same gate rows of the audit."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import task

from models.judging.verdict import GatePolicy, Verdict
from models.registry import versions
from tasks.context import Context, open_context
from tasks.report.artifacts import publish_verdict
from tasks.report.verdict_view import Pair, verdict_lines, verdict_markdown

if TYPE_CHECKING:
    from tasks.retrain.gather import GateRows


@task(timeout_seconds=6 * 3600)
def judge(challenger: str, snapshot: str, policy: GatePolicy) -> str:
    """Measure challenger and champion on the same gate rows; return the verdict's id.

    Idempotent: the same judgement is recorded once, and a model that was in service is not judged
    anew when an old run is repeated.
    """
    ctx = open_context()
    past = versions.releasing_verdict(ctx.engine, challenger)
    if past is not None:
        print(f"{challenger} was released already ({past}); a person may do so again")
        return past
    return _judge(ctx, challenger, snapshot, policy)


def _judge(ctx: Context, challenger: str, snapshot: str, policy: GatePolicy) -> str:
    from models.judging.gate import decide
    from tasks.retrain.gather import gate_rows, gather

    gate = gate_rows(ctx, challenger, snapshot)
    past = versions.verdict_on(
        ctx.engine,
        challenger=challenger,
        champion=gate.champion,
        rows_fingerprint=gate.fingerprint,
        policy=asdict(policy),
    )
    if past is not None:  # nothing is measured again: times are never the same
        print(f"{challenger} was judged on the same rows already: {past}")
        return past
    return conclude(ctx, gate, decide(gather(ctx, gate, policy), policy))


def conclude(ctx: Context, gate: "GateRows", verdict: Verdict) -> str:
    """Record a verdict, publish its page and print it; return its id."""
    verdict_id = versions.record_verdict(
        ctx.engine,
        challenger=gate.challenger,
        champion=gate.champion,
        snapshot=gate.snapshot,
        rows_fingerprint=gate.fingerprint,
        verdict=verdict,
    )
    judged = Pair(gate.challenger, gate.champion, gate.snapshot)
    publish_verdict(verdict_markdown(verdict, judged), challenger=gate.challenger)
    for line in verdict_lines(verdict, judged):
        print(line)
    return verdict_id
