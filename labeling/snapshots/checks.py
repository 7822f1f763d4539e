"""What snapshots promise, checked: whole on the remote, as frozen, and free of held-out samples."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Row, select

from core.database import stream
from core.dvc_objects import DvcObject, StoreError
from core.files import file_sha256
from core.findings import MEND, RESTORE, Finding
from core.git import tags
from core.intents import intents, open_intents
from core.rows import chunks
from core.workspace import Workspace
from labeling.ledger.tables import audit, gold, snapshots
from labeling.snapshots.publish import KIND, list_snapshots, verify_remote
from labeling.snapshots.repair import TABLE, is_underway, table_differs, table_of, wrong_notes
from labeling.snapshots.replaced import bytes_left, open_store, replacements

TRAINED_ON = ("train", "val", "soft")  # splits that have a part in the weights
BATCH = 5_000  # rows of a table in memory at once
GROUPS = 20_000  # groups of measured samples in memory at once


def snapshots_are_on_the_remote(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots with a missing tag, or with an object that is not whole on the DVC remote."""
    names, replaced = list_snapshots(engine)["name"], replacements(engine)
    for problem in verify_remote(workspace, *names, replaced=replaced):
        yield Finding("I4", problem, MEND)


def erased_samples_are_gone(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Images of erased samples that are in a shard, in DVC's cache or on its remote."""
    for what in bytes_left(engine, workspace):
        yield Finding("I17", what, "`hone fsck --repair` erases it again")


def tags_are_snapshots(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Git tags of snapshots that have no row in the ledger and no open intent."""
    with engine.connect() as connection:
        recorded = {*list_snapshots(engine)["name"], *open_intents(connection, KIND)}
    for name in sorted(set(tags(workspace.root)) - recorded):
        if name.startswith("snapshot-"):
            yield Finding(
                "I4",
                f"git tag {name} is no snapshot of the ledger",
                f"the database is older than its workspace: {RESTORE}",
            )


def snapshots_are_as_frozen(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots whose tag, table or row is another than the one that was published."""
    made = tags(workspace.root)
    with engine.connect() as connection, open_store(engine, workspace) as store:
        meant = select(intents.c.key, intents.c.payload).where(intents.c.kind == KIND)
        payloads = dict(connection.execute(meant).tuples().all())
        for row in connection.execute(select(snapshots).order_by(snapshots.c.number)):
            if made.get(row.name) != row.commit:
                what = f"{row.name}: its git tag stands for {made.get(row.name)}"
                yield Finding("I5", f"{what}, and {row.commit} was published", MEND)
                continue
            try:
                with store.whole_file(table_of(store, row.commit)) as path:
                    problems = [*_unlike(row, path), *_unlike_intent(row, payloads.get(row.name))]
            except (RuntimeError, ValueError, StopIteration) as error:
                problems = [str(error)]
            yield from (Finding("I5", f"{row.name}: {one}", RESTORE) for one in problems)


def _unlike(row: Row[Any], path: Path) -> Iterator[str]:
    """What the row of a snapshot says otherwise than its table."""
    digest = file_sha256(path)
    if digest != row.table_sha256:
        yield f"its table has SHA-256 {digest}, {row.table_sha256} was frozen"
        return
    rows = pq.read_metadata(path).num_rows
    if rows != row.rows:
        yield f"its table has {rows} rows, {row.rows} in the database"


def _unlike_intent(row: Row[Any], payload: dict[str, Any] | None) -> Iterator[str]:
    """What the row of a snapshot says otherwise than was decided when it was begun."""
    if payload is None:
        yield "no intent to make it is on record"
        return
    for name in ("fingerprint", "seed", "created_at"):
        if payload.get(name) != row._mapping[name]:
            yield f"its {name} is {row._mapping[name]}, {payload.get(name)} was decided"
    if row.name != f"snapshot-{row.number:04d}":
        yield f"it has the number {row.number}"


def the_cache_is_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Objects in DVC's cache that are damaged, and those of snapshots that are missing there."""
    made = tags(workspace.root)
    with engine.connect() as connection:
        is_settled = not is_underway(connection)
    with open_store(engine, workspace) as store:
        wanted: dict[DvcObject, None] = {}
        for name in set(list_snapshots(engine)["name"]) & made.keys():
            wanted |= dict.fromkeys(store.objects(made[name]))
        for problem in store.damaged_in_cache(list(wanted), others=is_settled):
            yield Finding("I5", f"the DVC cache: {problem}", MEND)


def the_table_is_the_newest_snapshot(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """A table of labels, or DVC's notes, in the workspace that are not the newest snapshot's."""
    with engine.connect() as connection:
        newest = connection.execute(
            select(snapshots).order_by(snapshots.c.number.desc()).limit(1)
        ).first()
        if newest is None or is_underway(connection):
            return
    remedy = "`hone fsck --repair` writes it anew from the snapshot"
    for note in wrong_notes(workspace, newest.commit):
        yield Finding("I5", f"{workspace.root / note} is not that of {newest.name}", remedy)
    with open_store(engine, workspace) as store:
        try:
            differs = table_differs(workspace, table_of(store, newest.commit))
        except StoreError:
            return  # `snapshots_are_on_the_remote` and `the_cache_is_whole` report it
        if differs:
            what = f"{workspace.root / TABLE} is not the table of {newest.name}"
            yield Finding("I5", what, remedy)


def held_out_samples_are_not_trained_on(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Audit and gold samples, and their near-duplicates, that the newest snapshot trains on."""
    newest = list_snapshots(engine).tail(1)
    for name, commit, cut_at in newest[["name", "commit", "created_at"]].itertuples(index=False):
        with open_store(engine, workspace) as store, engine.connect() as connection:
            try:
                with store.whole_file(table_of(store, commit)) as path:
                    leaked = sorted({*_held_out(connection, path, cut_at), *_like_measured(path)})
            except (RuntimeError, ValueError):
                return  # `snapshots_are_as_frozen` reports it
        for sample_id in leaked:
            yield Finding(
                "I11",
                f"{name}: audit or gold sample {sample_id[:12]}, or its like, is trained on",
                "cut a new snapshot with `hone collect`, then `hone retrain`",
            )


def _held_out(connection: Connection, path: Path, cut_at: str) -> Iterator[str]:
    """Samples that are trained on and were in the audit then, or are among gold."""
    for columns in _batches(path, "sample_id", TRAINED_ON):
        for keys in chunks(columns["sample_id"]):
            in_audit = audit.c.sample_id.in_(keys), audit.c.drawn_at <= cut_at
            for apart in (
                select(audit.c.sample_id).where(*in_audit),
                select(gold.c.sample_id).where(gold.c.sample_id.in_(keys)),
            ):
                yield from (row.sample_id for row in stream(connection, apart))


def _like_measured(path: Path) -> Iterator[str]:
    """Samples that are trained on, of a group that a model is measured on."""
    measured: set[str] = set()
    for columns in _batches(path, "group_id", ("test",)):
        measured.update(columns["group_id"])
        if len(measured) >= GROUPS:
            yield from _in_groups(path, measured)
            measured.clear()
    if measured:
        yield from _in_groups(path, measured)


def _in_groups(path: Path, groups: Collection[str]) -> Iterator[str]:
    for columns in _batches(path, "group_id", TRAINED_ON):
        for sample_id, group in zip(columns["sample_id"], columns["group_id"], strict=True):
            if group in groups:
                yield sample_id


def _batches(path: Path, column: str, splits: Collection[str]) -> Iterator[dict[str, list[str]]]:
    """Columns of the rows of these splits, a part at a time."""
    names = sorted({"sample_id", "split", column})
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(BATCH, columns=names):
            is_wanted = pc.is_in(batch["split"], value_set=pa.array(sorted(splits)))
            yield batch.filter(is_wanted).to_pydict()
