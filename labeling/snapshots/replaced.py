"""Shards written anew without erased images, and old snapshots read with them.

A shard's successor is as long and has zeros where erased images were, so that all others stay at
their places. Old commits name the old shard: `open_store` and `as_stored` are where its successor
takes its place. The order makes a kill harmless: intent, file, cache and remote, then in one
transaction the rows that lead to the successor, and only then the old shard is dropped.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, Row, select

from core import journal
from core.database import now, stream, writing
from core.dvc_objects import DvcObject, ObjectStore, Replaced
from core.erased_objects import ErasingStore
from core.files import write_atomically
from core.intents import begin_intent, commit_intent, open_intents
from core.locks import Token, fence
from core.rows import chunks
from core.shards import blanked
from core.workspace import Workspace
from labeling.ledger.erased import (
    REPLACE,
    erased_samples,
    has_samples,
    is_replaced,
    places_to_erase,
    replaced_shards,
)
from labeling.ledger.tables import samples

FOLDER = "data/shards"


def open_store(engine: Engine, workspace: Workspace) -> ObjectStore:
    """DVC's objects of the workspace, where successors take the places of replaced shards."""
    return ObjectStore(workspace.root, replacements(engine))


def replacements(engine: Engine) -> Replaced:
    """By MD5 of each replaced shard the object that has its place now; None where none has."""
    with engine.connect() as connection:
        rows = connection.execute(select(replaced_shards)).all()
    direct = {row.md5: _successor(row) for row in rows}
    return {md5: _last(direct, successor) for md5, successor in direct.items()}


def as_stored(connection: Connection, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a snapshot whose image is not erased, each with the shard that has it now."""
    columns = replaced_shards.c["shard", "successor"]
    following = dict(connection.execute(select(*columns)).tuples().all())
    shards = {name: _last(following, name) for name in table["shard"].unique()}
    erased: set[tuple[str, int]] = set()
    for part in chunks(sorted({name for name in shards.values() if name is not None})):
        places = select(*erased_samples.c["shard", "offset"])
        rows = connection.execute(places.where(erased_samples.c.shard.in_(part)))
        erased |= set(rows.tuples())
    stored = table.assign(shard=table["shard"].map(shards))
    at = zip(stored["shard"], stored["offset"], strict=True)
    is_here = [shard is not None and (shard, offset) not in erased for shard, offset in at]
    return table if all(is_here) and stored["shard"].equals(table["shard"]) else (
        stored[is_here].reset_index(drop=True)
    )  # fmt: skip


def replace_shards(engine: Engine, workspace: Workspace, token: Token) -> list[str]:
    """Write every shard anew that has the bytes of an erased sample, and drop the old one.

    Returns a sentence for each shard of which that cannot be done now. Idempotent.
    """
    left: list[str] = []
    with ErasingStore(workspace.root) as store:
        with engine.connect() as connection:
            begun = open_intents(connection, REPLACE)
        for shard, intent in begun.items():
            _finish(engine, store, token, shard, intent)
        with engine.connect() as connection:
            places = places_to_erase(connection)
        for shard, erased in places.items():
            try:
                payload = _decide(engine, workspace, token, shard, erased)
            except (OSError, ValueError) as error:
                left.append(f"{error}; `hone fsck --repair` brings it back, then it is erased")
                continue
            if payload is not None:
                _finish(engine, store, token, shard, payload)
    return left


def bytes_left(engine: Engine, workspace: Workspace) -> Iterator[str]:
    """What is left, or is back, of images that are known to be erased: a sentence for each."""
    with ErasingStore(workspace.root) as store:
        for old in _dropped(engine):
            for place in store.copies(old):
                yield f"{Path(old.path).name} has erased images and is in {place}"
    for path, sample_id, offset, length in _erased_here(engine, workspace):
        with path.open("rb") as file:
            if any(os.pread(file.fileno(), length, offset)):
                yield f"sample {sample_id[:12]} was erased and is in {path}"


def erase_again(engine: Engine, workspace: Workspace) -> None:
    """Erase what came back, as from a backup."""
    with ErasingStore(workspace.root) as store:
        for old in _dropped(engine):
            store.drop(old)
    for path, _, offset, length in _erased_here(engine, workspace):
        with path.open("r+b") as file:
            if any(os.pread(file.fileno(), length, offset)):
                os.pwrite(file.fileno(), bytes(length), offset)
                os.fsync(file.fileno())


def _dropped(engine: Engine) -> list[DvcObject]:
    with engine.connect() as connection:
        columns = replaced_shards.c["shard", "md5"]
        query = select(*columns).where(replaced_shards.c.dropped_at.is_not(None))
        rows = connection.execute(query.order_by(replaced_shards.c.shard)).tuples()
        return [DvcObject(f"{FOLDER}/{shard}", md5) for shard, md5 in rows]


def _erased_here(engine: Engine, workspace: Workspace) -> Iterator[tuple[Path, str, int, int]]:
    """The place of each erased image whose shard is in the workspace."""
    columns = erased_samples.c["sample_id", "shard", "offset", "length"]
    query = select(*columns).where(erased_samples.c.done_at.is_not(None))
    with engine.connect() as connection:
        for row in stream(connection, query.order_by(erased_samples.c.shard)):
            path = workspace.shards / row.shard
            if path.is_file():
                yield path, row.sample_id, row.offset, row.length


def _decide(
    engine: Engine, workspace: Workspace, token: Token, shard: str, places: list[tuple[int, int]]
) -> dict[str, Any] | None:
    """The intent to replace a shard; None where it has no bytes of erased images, or is gone."""
    with engine.connect() as connection:
        if is_replaced(connection, shard):
            return None
        is_needed = has_samples(connection, shard)
    sha256, md5 = _digests(workspace.shards / shard, [])
    if f"{sha256}.tar" != shard:
        raise ValueError(f"{workspace.shards / shard} is damaged: its SHA-256 is not its name")
    payload: dict[str, Any] = {"md5": md5, "successor": None, "successor_md5": None, "places": []}
    if is_needed:
        sha256, md5 = _digests(workspace.shards / shard, places)
        payload |= {"successor": f"{sha256}.tar", "successor_md5": md5, "places": places}
        if payload["successor"] == shard:
            return None
    with writing(engine) as connection:
        return begin_intent(connection, token, kind=REPLACE, key=shard, payload=payload)


def _finish(
    engine: Engine, store: ErasingStore, token: Token, shard: str, payload: dict[str, Any]
) -> None:
    old = DvcObject(f"{FOLDER}/{shard}", payload["md5"])
    with engine.connect() as connection:
        is_recorded = is_replaced(connection, shard)
    if not is_recorded:
        if payload["successor"] is not None:
            _write(store, old, payload)
        with writing(engine) as connection:
            fence(connection, token)
            _record(connection, shard, payload)
    store.drop(old)
    with writing(engine) as connection:
        mine = replaced_shards.c.shard == shard
        commit_intent(connection, token, kind=REPLACE, key=shard)
        journal.update(connection, replaced_shards, mine, dropped_at=now())


def _write(store: ErasingStore, old: DvcObject, payload: dict[str, Any]) -> None:
    """The successor in the workspace, and in cache and remote where the old one is."""
    path, wanted = store.root / old.path, store.root / FOLDER / payload["successor"]
    places = [(offset, length) for offset, length in payload["places"]]
    digest = write_atomically(wanted, lambda file: file.writelines(blanked(path, places)))
    if f"{digest}.tar" != wanted.name:
        wanted.unlink()
        raise OSError(f"{wanted}: another content was written; check the disk and run again")
    if store.has(old):
        store.hold(DvcObject(f"{FOLDER}/{wanted.name}", payload["successor_md5"]))


def _record(connection: Connection, shard: str, payload: dict[str, Any]) -> None:
    """Let every row lead to the successor."""
    about = {name: payload[name] for name in ("md5", "successor", "successor_md5")}
    row = {"shard": shard, **about, "replaced_at": now(), "dropped_at": None}
    journal.insert(connection, replaced_shards, [row])
    if payload["successor"] is not None:
        for table in (samples, erased_samples):
            mine = table.c.shard == shard
            journal.update(connection, table, mine, shard=payload["successor"])


def _digests(path: Path, places: list[tuple[int, int]]) -> tuple[str, str]:
    """SHA-256 and MD5 of a file with zeros at these places."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for part in blanked(path, places):
        sha256.update(part)
        md5.update(part)
    return sha256.hexdigest(), md5.hexdigest()


def _successor(row: Row[Any]) -> DvcObject | None:
    if row.successor is None:
        return None
    return DvcObject(f"{FOLDER}/{row.successor}", str(row.successor_md5))


def _last(following: dict[str, Any], first: Any) -> Any:
    """The last of a chain of successors."""
    while first is not None and (key := getattr(first, "md5", first)) in following:
        first = following[key]
    return first
