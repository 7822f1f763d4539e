"""Checks of the stored predictions for the pool."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from core.findings import Finding
from core.workspace import Workspace
from models.scoring.cache import damage_of_cache, forget_cache


def scores_are_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Stored predictions that are not what was written."""
    for folder in cache_folders(workspace):
        if problem := damage_of_cache(folder):
            remedy = "`hone fsck --repair` drops them, and they are made anew"
            yield Finding("I10", f"the scores in {folder}: {problem}", remedy)


def drop_damaged_scores(workspace: Workspace) -> None:
    """Remove the stored predictions that are damaged, except where a process has them open."""
    for folder in cache_folders(workspace):
        if damage_of_cache(folder):
            forget_cache(folder)


def cache_folders(workspace: Workspace) -> list[Path]:
    """The folders of stored predictions."""
    return sorted(path.parent for path in workspace.scores.rglob("shape.json"))
