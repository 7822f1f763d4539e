"""The next step of a trial: wait, go on, or end; a person who holds it keeps it where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.text import counted
from models.rollout.criteria import Criterion
from models.rollout.policy import FULL, ReleasePolicy


class Move(StrEnum):
    """What follows for a trial."""

    WAIT = "wait"
    ADVANCE = "advance"
    ABORT = "abort"


@dataclass(frozen=True)
class Progress:
    """How far the present step of a trial is."""

    step: str  # shadow or canary
    requests: int  # images that the challenger answered in it; in shadow each once
    hours: float
    passed_over: int = 0  # images that it was not asked about, so that nobody waits
    promoted: bool = False  # whether a PROMOTE verdict stands for it
    held_by: str | None = None  # the person whose word keeps it in this step


@dataclass(frozen=True)
class NextMove:
    """What follows, the step to go on to, and why, as sentences."""

    move: Move
    step: str | None
    why: tuple[str, ...]


def next_move(progress: Progress, criteria: Sequence[Criterion], policy: ReleasePolicy) -> NextMove:
    """What follows for a trial: evidence ends it, time and traffic let it go on.

    Only a version with a PROMOTE verdict goes on by itself, and none that a person holds; evidence
    ends the trial of either.
    """
    fired = [one for one in criteria if one.fired]
    if fired:
        return NextMove(Move.ABORT, None, tuple(one.sentence() for one in fired))
    following = _following(progress.step, policy)
    missing = waits_for(progress, policy)
    if missing:
        return NextMove(Move.WAIT, following, missing)
    why = f"{counted(progress.requests, 'image')} in {progress.hours:.1f} hours, no test fired"
    return NextMove(Move.ADVANCE, following, (why,))


def waits_for(progress: Progress, policy: ReleasePolicy) -> tuple[str, ...]:
    """What the trial waits for before it goes on, each as a phrase; nothing: it can go on."""
    missing = []
    if progress.held_by is not None:
        missing.append(f"the word of a person: {progress.held_by} holds it")
    elif not progress.promoted:
        missing.append("the word of a person: no PROMOTE verdict stands for it")
    if progress.requests < policy.min_requests:
        missing.append(f"{policy.min_requests - progress.requests:,} more images")
    if progress.hours < policy.min_hours:
        missing.append(f"{policy.min_hours - progress.hours:.1f} more hours")
    return tuple(missing)


def _following(step: str, policy: ReleasePolicy) -> str:
    return "canary" if step == "shadow" and policy.canary_share else FULL
