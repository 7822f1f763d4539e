"""Snapshots made whole again: cache and remote from each other, the workspace from both."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from core.dvc_objects import DVC_FILES, DvcObject, ObjectStore, StoreError
from core.git import git, show, tags
from core.intents import intents
from core.locks import Token, fence
from core.workspace import Workspace
from labeling.ledger.tables import snapshots
from labeling.snapshots.publish import KIND, fetch_shards
from labeling.snapshots.replaced import open_store

TABLE = "data/labels.parquet"


def repair_snapshots(engine: Engine, workspace: Workspace, token: Token) -> list[str]:
    """Mend tags, cache, remote, table and shards; return a sentence for what no copy can mend."""
    with engine.connect() as connection:
        fence(connection, token)
        rows = connection.execute(select(snapshots).order_by(snapshots.c.number)).all()
        is_settled = not is_underway(connection)
    left = []
    made = tags(workspace.root)
    for row in rows:
        if made.get(row.name) != row.commit:
            git(workspace.root, "tag", "--force", row.name, row.commit)
        try:
            with open_store(engine, workspace) as store:
                left += store.mend(store.objects(row.commit))
            fetch_shards(engine, workspace, row.name)
        except (StoreError, ValueError, OSError) as error:
            left.append(f"{row.name}: {error}")
    if rows and is_settled:
        left += _restore_table(engine, workspace, rows[-1])
    return list(dict.fromkeys(left))


def _restore_table(engine: Engine, workspace: Workspace, newest: Row[Any]) -> Iterator[str]:
    """Put the table and the notes of the newest snapshot back into the workspace."""
    if wrong_notes(workspace, newest.commit):
        git(workspace.root, "checkout", newest.commit, "--", *DVC_FILES)
    try:
        with open_store(engine, workspace) as store:
            wanted = table_of(store, newest.commit)
            if table_differs(workspace, wanted):
                store.restore(wanted)
    except (StoreError, ValueError, OSError) as error:
        yield f"{TABLE}: {error}"


def is_underway(connection: Connection) -> bool:
    """Whether a snapshot is being made, or the newest attempt was discarded: its table is here."""
    made = select(intents.c.confirmed_at, intents.c.outcome).where(intents.c.kind == KIND)
    newest = connection.execute(made.order_by(intents.c.intended_at.desc()).limit(1)).first()
    return newest is not None and (newest.confirmed_at is None or newest.outcome != "done")


def table_of(store: ObjectStore, commit: str) -> DvcObject:
    """The object of the table of labels in this commit."""
    return next(known for known in store.objects(commit) if known.path == TABLE)


def table_differs(workspace: Workspace, wanted: DvcObject) -> bool:
    """Whether the table in the workspace is another than this object."""
    path = workspace.root / TABLE
    return not path.is_file() or file_md5(path) != wanted.md5


def file_md5(path: Path) -> str:
    """The MD5 of a file, by which DVC names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def wrong_notes(workspace: Workspace, commit: str) -> list[str]:
    """DVC's notes in the workspace that are gone or other than in the commit."""
    return [
        note
        for note in DVC_FILES
        if not (workspace.root / note).is_file()
        or (workspace.root / note).read_text(encoding="utf-8", errors="replace").strip()
        != show(workspace.root, commit, note)
    ]
