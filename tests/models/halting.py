"""Halts by a person's word, each in a transaction of its own."""

from sqlalchemy import Engine

from core.database import writing
from models.registry.halts import HaltPolicy, add_halt, lift_halt


def halt_service(engine: Engine, *, policy: HaltPolicy, who: str, why: str) -> int:
    """Halt the service; the number of the halt."""
    with writing(engine) as connection:
        return add_halt(connection, policy=policy, who=who, why=why, decision_id=None)


def resume_service(engine: Engine, *, who: str, why: str) -> int:
    """Let the service answer again; the number of the halt."""
    with writing(engine) as connection:
        return lift_halt(connection, who=who, why=why)
