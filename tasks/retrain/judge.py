"""Challenger to verdict: both models on the same gate rows of the audit."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import task

from models.judging.verdict import GatePolicy, Verdict
from models.registry import releases, versions
from tasks.context import Context, open_context
from tasks.report.artifacts import publish_verdict
from tasks.report.verdict_view import Pair, verdict_lines, verdict_markdown
from tasks.retrain.duel import begin_if_open, duel_with_champion, waits_for_other
from tasks.retrain.reported import track_verdict, with_reported
from tasks.retrain.runtime import choose_runtime

if TYPE_CHECKING:
    from tasks.retrain.gather import GateRows


@task(timeout_seconds=6 * 3600)
def judge(
    challenger: str,
    snapshot: str,
    policy: GatePolicy,
    approval: str = "verdict",
    annotators: str = "label-studio",
) -> str | None:
    """Measure challenger and champion on the same gate rows; return the verdict's id.

    None while a duel decides, or another duel is under way and the challenger waits. Idempotent:
    the same judgement is recorded once, two models have one duel, and a model that was in service
    is not judged anew when an old run is repeated.
    """
    ctx = open_context()
    past = releases.releasing_verdict(ctx.engine, challenger)
    if past is not None:
        print(f"{challenger} was released already ({past}); a person may do so again")
        return past
    if (duel := duel_with_champion(ctx, challenger)) is not None:
        print(f"{challenger} has {duel.duel_id} with the champion: {duel.outcome or 'under way'}")
        return duel.verdict_id
    if waits_for_other(ctx, challenger, snapshot, policy, approval):
        return None
    can_be_asked = annotators == "simulated" or ctx.settings.label_studio_url is not None
    return _judge(ctx, challenger, snapshot, policy, approval if can_be_asked else None)


def _judge(
    ctx: Context, challenger: str, snapshot: str, policy: GatePolicy, approval: str | None
) -> str | None:
    """The verdict by the audit, or None for a duel; without `approval` nobody can be asked."""
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
    for version in (challenger, gate.champion):
        if version is not None:  # what is judged is what will be served
            choose_runtime(ctx, version)
    evidence = gather(ctx, gate, policy)
    # With it goes the accuracy on audit rows that no verdict uses, the figure to show.
    verdict = with_reported(ctx, gate, decide(evidence, policy))
    if approval is not None:
        duel = begin_if_open(ctx, gate, evidence, verdict, policy, approval)
        if duel is not None:
            print(f"{duel.duel_id} decides: {challenger} against {duel.champion}")
            return None
    return conclude(ctx, gate, verdict)


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
    track_verdict(ctx, gate.challenger, verdict)
    judged = Pair(gate.challenger, gate.champion, gate.snapshot)
    publish_verdict(verdict_markdown(verdict, judged), challenger=gate.challenger)
    for line in verdict_lines(verdict, judged):
        print(line)
    return verdict_id
