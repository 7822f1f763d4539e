"""Models beside the champion: a challenger in shadow or canary, and the front model of a cascade.

Each change is one row of `releases`; the champion stays. The challenger is never the front model:
it is compared with the champion on what the front model leaves over.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, select

from models.kinds import DEFAULT
from models.registry.releases import (
    Action,
    Mode,
    Release,
    add_next,
    changing,
    is_person,
    refuse_other_than,
    refuse_unjudged,
    refuse_withdrawn,
    release_of,
    releases,
)
from models.registry.versions import models

LEAST_SHARE, MOST_SHARE = 1.0, 50.0  # percent of the clients that a canary answers


def set_challenger(
    engine: Engine,
    *,
    version: str,
    mode: Mode,
    share: float = 0.0,
    who: str,
    why: str,
    expected: int,
    verdict_id: str | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> int:
    """Put `version` in shadow or canary beside the champion; return the number of the release.

    A flow puts in canary only what has a PROMOTE verdict against the champion, and nothing that was
    withdrawn. Idempotent, but that a person's word takes the place of a flow's.
    """
    _refuse_share(mode, share)
    with changing(engine, who=who, why=why, expected=expected) as connection:
        current = release_of(connection)
        asked = (version, mode, share)
        same = current and (current.challenger, current.mode, current.share) == asked
        if current and same and (not is_person(who) or _is_held(connection)):
            return current.number
        refuse_other_than(expected, current)
        current = _beside(connection, version, current)
        if version == current.front:
            raise ValueError(
                f"{version} is the front model of the cascade, and a challenger is compared on "
                "what that leaves over: end the cascade first with `hone cascade off`, or name "
                "another version"
            )
        if not is_person(who):
            refuse_withdrawn(connection, version)
            if mode == Mode.CANARY:
                refuse_unjudged(connection, version, verdict_id, current)
        changed = replace(current, challenger=version, mode=mode, share=share)
        return add_next(connection, changed, Action(mode), who, why, evidence)


def end_challenger(
    engine: Engine,
    *,
    who: str,
    why: str,
    expected: int,
    action: Action = Action.OFF,
    evidence: Mapping[str, Any] | None = None,
) -> int:
    """End a shadow or canary: the champion answers alone; return the number of the release.

    `action` is OFF, or ABORT where the challenger failed.
    """
    with changing(engine, who=who, why=why, expected=expected) as connection:
        current = release_of(connection)
        refuse_other_than(expected, current)
        if current is None or current.challenger is None:
            raise ValueError("no model is in shadow or canary: there is nothing to end")
        alone = replace(current, challenger=None, mode=Mode.OFF, share=0.0)
        return add_next(connection, alone, action, who, why, evidence)


def set_front(
    engine: Engine,
    *,
    front: str | None,
    threshold: float | None,
    who: str,
    why: str,
    expected: int,
    evidence: Mapping[str, Any] | None = None,
) -> int:
    """Put a front model before the champion, or remove it (None); return the release's number."""
    if (front is None) != (threshold is None) or not 0 <= (threshold or 0) <= 1:
        raise ValueError(f"a front model needs a threshold from 0 to 1, not {threshold}")
    with changing(engine, who=who, why=why, expected=expected) as connection:
        current = release_of(connection)
        if current and (current.front, current.front_threshold) == (front, threshold):
            return current.number
        refuse_other_than(expected, current)
        if front is not None:
            current = _beside(connection, front, current)
            if front == current.challenger:
                raise ValueError(
                    f"{front} is in {current.mode} beside the champion, and a challenger is "
                    "compared on what a front model leaves over: end that first with "
                    f"`hone {current.mode} --off`, or name another version"
                )
        if current is None:
            raise ValueError("nothing is in service: there is no front model to remove")
        changed = replace(current, front=front, front_threshold=threshold)
        return add_next(connection, changed, Action.CASCADE, who, why, evidence)


def _is_held(connection: Connection) -> bool:
    """Whether a person put the newest challenger where it is, whatever was changed since."""
    placed = releases.c.action.in_([str(Action.SHADOW), str(Action.CANARY)])
    newest = select(releases.c.who).where(placed).order_by(releases.c.number.desc()).limit(1)
    return is_person(connection.scalar(newest) or "")


def _beside(connection: Connection, version: str, current: Release | None) -> Release:
    """The current release, if `version` can answer beside its champion."""
    if current is None:
        raise ValueError(f"nothing is in service that {version} could be compared with; release it")
    if version == current.champion:
        raise ValueError(f"{version} is the champion itself: name another version")
    query = select(models.c.version, models.c.config)
    chosen = models.c.version.in_((version, current.champion))
    cards = dict(connection.execute(query.where(chosen)).tuples().all())
    if version not in cards:
        raise ValueError(
            f"there is no model {version!r}: a training names the version that it made"
        )
    mine, its = (_answers(cards[one]) for one in (version, current.champion))
    if mine != its:
        raise ValueError(
            f"{version} answers {mine}, the champion {current.champion} {its}: their answers "
            "cannot be compared; `hone release` puts a model with other classes in service"
        )
    return current


def _answers(card: Mapping[str, Any]) -> str:
    return f"{card.get('kind', DEFAULT)} of {', '.join(card.get('classes', ()))}"


def _refuse_share(mode: Mode, share: float) -> None:
    if mode == Mode.OFF:
        raise ValueError("a challenger is in shadow or canary; `end_challenger` ends it")
    if mode == Mode.SHADOW and share:
        raise ValueError(f"a shadow answers nobody, so that it has no share ({share})")
    if mode == Mode.CANARY and not LEAST_SHARE <= share <= MOST_SHARE:
        raise ValueError(
            f"a canary answers {LEAST_SHARE:.0f} to {MOST_SHARE:.0f} percent, not {share:g}; "
            "`hone release` lets it answer all"
        )
