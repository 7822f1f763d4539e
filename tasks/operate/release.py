"""A release by a named person, whatever the verdict."""

from models.registry import releases
from tasks.context import open_context
from tasks.retrain.runtime import chosen_for_release


def release_by_hand(version: str, *, who: str, why: str) -> str:
    """Put a version into service by a person's word and package it; return the bento's tag."""
    from models.registry.bento import package

    ctx = open_context()
    packages = chosen_for_release(ctx, version)  # before a service has to choose for itself
    current = releases.current_release(ctx.engine)
    releases.release(
        ctx.engine,
        version=version,
        verdict_id=None,
        who=who,
        why=why,
        override=True,
        expected=current.number if current else 0,
    )
    return package(ctx.workspace, version, packages)
