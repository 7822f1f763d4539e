"""Models by name alone, their verdicts and releases, in a database without files."""

from typing import Any

from sqlalchemy import Engine

from core.database import now, writing
from core.journal import insert
from models.judging.verdict import Outcome, Verdict
from models.registry.challengers import set_challenger
from models.registry.releases import Mode, champion, current_release, release
from models.registry.rollbacks import roll_back
from models.registry.versions import models, record_verdict

A, B, C, D = "hone:0001-a", "hone:0002-b", "hone:0003-c", "hone:0004-d"
CARD = {"classes": ["cat", "dog"], "kind": "classification"}


def add_models(engine: Engine, *versions: str, **card: Any) -> None:
    """Record these models."""
    rows = [
        {"version": version, "weights_sha256": "0", "snapshot": "s", "code_commit": "c",
         "seed": 0, "config": {**CARD, **card}, "metrics": {}, "created_at": now()}
        for version in versions
    ]  # fmt: skip
    with writing(engine) as connection:
        insert(connection, models, rows)


def judge(engine: Engine, challenger: str, against: str | None, outcome: str = "PROMOTE") -> str:
    """Record a verdict; return its id."""
    return record_verdict(
        engine, challenger=challenger, champion=against, snapshot="s", rows_fingerprint="f",
        verdict=Verdict(Outcome(outcome), ["because"], {"gain": 0.1}),
    )  # fmt: skip


def number(engine: Engine) -> int:
    """The number of the current release."""
    current = current_release(engine)
    return current.number if current else 0


def put(engine: Engine, version: str, verdict_id: str | None, expected: int, **more: object) -> int:
    """Release a version, by a flow unless `who` is another."""
    words = {"who": "hone retrain", "why": "better"} | more
    return release(engine, version=version, verdict_id=verdict_id, expected=expected, **words)  # type: ignore[arg-type]


def promote(engine: Engine, version: str) -> int:
    """Judge a version against the champion and release it."""
    return put(engine, version, judge(engine, version, champion(engine)), number(engine))


def by_hand(engine: Engine, version: str, who: str = "Ada") -> int:
    """Release a version on a person's word."""
    return put(engine, version, None, number(engine), who=who, why="her word", override=True)


def challenge(engine: Engine, version: str, share: float = 0.0, **more: Any) -> int:
    """Put a version in canary at a share, or in shadow without one."""
    words: dict[str, Any] = {"who": "Ada", "why": "to compare", "expected": number(engine)} | more
    mode = Mode.CANARY if share else Mode.SHADOW
    return set_challenger(engine, version=version, mode=mode, share=share, **words)


def go_back(engine: Engine, to: str | None = None, who: str = "hone watch") -> int:
    """Roll back, by a flow unless `who` is another."""
    return roll_back(engine, to=to, who=who, why="worse", expected=number(engine))
