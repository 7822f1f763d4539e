"""The trial under way, as the release record has it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.registry.releases import Action, Mode, Release

BEGINS = (Action.SHADOW, Action.CANARY)


@dataclass(frozen=True)
class Trial:
    """A challenger beside the champion, from the release that began it to the newest one."""

    began: int  # number of that release
    number: int  # in the life of the workspace, for the chance of a false abort
    step: Mode
    step_began: int
    step_at: str
    current: int  # number of the newest release
    champion: str
    challenger: str
    share: float
    held_by: str | None  # the person who put it where it is
    has_front: bool = False  # whether a front model answered a part of the traffic in it
    front: str | None = None  # the one that did so all through it, from one confidence on
    began_at: str = ""


def current_trial(rows: Sequence[Release]) -> Trial | None:
    """The trial of the newest release, from all of them in their order; None without one."""
    if not rows or rows[-1].challenger is None:
        return None
    *earlier, mine = list(_runs(rows))
    aborted = sum(_was_aborted(rows, run) for run in earlier)
    steps = [row for row in mine if row.mode == rows[-1].mode]
    for row in reversed(mine):
        if row.mode != rows[-1].mode:
            steps = [one for one in steps if one.number > row.number]
            break
    placed = next(row for row in reversed(mine) if row.action in BEGINS)
    return Trial(
        began=mine[0].number,
        number=1 + len(earlier) - aborted,
        step=rows[-1].mode,
        step_began=steps[0].number,
        step_at=steps[0].released_at,
        current=rows[-1].number,
        champion=rows[-1].champion,
        challenger=str(rows[-1].challenger),
        share=rows[-1].share,
        held_by=placed.who if placed.by_a_person else None,
        has_front=any(row.front is not None for row in mine),
        front=mine[0].front
        if len({(row.front, row.front_threshold) for row in mine}) == 1
        else None,
        began_at=mine[0].released_at,
    )


def newest_abort(rows: Sequence[Release]) -> tuple[Release, Release] | None:
    """The newest release by which evidence ended a trial, and the one before it; None without."""
    for before, row in reversed(list(pairwise(rows))):
        if row.action == Action.ABORT and not row.by_a_person:
            return before, row
    return None


def was_tried(rows: Sequence[Release], verdict_id: str) -> bool:
    """Whether a trial was begun on this verdict."""
    return any((row.evidence or {}).get("verdict") == verdict_id for row in rows)


def _runs(rows: Sequence[Release]) -> Iterator[list[Release]]:
    """The trials: releases in a row with the same challenger beside the same champion."""
    run: list[Release] = []
    for row in rows:
        if run and (row.challenger, row.champion) != (run[0].challenger, run[0].champion):
            yield run
            run = []
        if row.challenger is not None:
            run.append(row)
    if run:
        yield run


def _was_aborted(rows: Sequence[Release], run: Sequence[Release]) -> bool:
    """Whether evidence ended the trial: then its part of the chance was not used up."""
    after = next((row for row in rows if row.number == run[-1].number + 1), None)
    return after is not None and after.action == Action.ABORT and not after.by_a_person
