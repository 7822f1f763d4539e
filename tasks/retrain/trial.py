"""A promoted challenger to its trial: beside the champion, before it answers everybody."""

from collections.abc import Sequence
from typing import Any

from models.registry.challengers import set_challenger
from models.registry.releases import Mode, Release
from models.registry.versions import AUTOMATIC
from models.rollout.trial import current_trial, was_tried
from tasks.context import Context


def is_held(rows: Sequence[Release], version: str) -> bool:
    """Whether a person's trial keeps a promoted version waiting, by all releases; printed if so."""
    under_way = current_trial(rows)
    if under_way is None or under_way.held_by is None:
        return False
    print(
        f"{version} is promoted and waits: {under_way.held_by} holds {under_way.challenger} "
        f"in {under_way.step}; end that, or release {version} by a person's word"
    )
    return True


def begin_trial(ctx: Context, verdict: Any, rows: Sequence[Release]) -> None:
    """Put what a verdict promoted into the first step of `[release] path`; prints what follows.

    Idempotent: a verdict begins one trial. `rows` are all releases, none held by a person.
    """
    policy, version, current = ctx.policies.release, str(verdict.challenger), rows[-1]
    if was_tried(rows, verdict.verdict_id):
        print(f"{version} had its trial on {verdict.verdict_id}; `hone status` says how it stands")
        return
    mode = Mode(policy.path)
    try:
        set_challenger(
            ctx.engine,
            version=version,
            mode=mode,
            share=float(policy.canary_share) if mode == Mode.CANARY else 0.0,
            who=AUTOMATIC,
            why="; ".join(verdict.reasons),
            expected=current.number,
            verdict_id=verdict.verdict_id,
            evidence={"verdict": verdict.verdict_id},
        )
    except ValueError as error:  # other classes, withdrawn before, or in front: a person decides
        print(f"{version} is promoted and waits for a person's word: {error}")
        return
    print(
        f"{version} is in {mode} beside {current.champion}: `hone watch` goes on by itself after "
        f"{policy.min_requests:,} images and {policy.min_hours:g} hours, `hone status` says how far"
    )
