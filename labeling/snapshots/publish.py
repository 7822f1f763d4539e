"""Settled labels -> a frozen, DVC-versioned table under a name that always means the same bytes.

The order of things makes a kill harmless anywhere: intent, table, `dvc add`, commit, push, every
object read back from the remote, tag, database row. Only the row lets training see a snapshot.
The run after a kill looks for the intent. With its tag made, the snapshot is whole and gets its
row. Without, it was never visible: if the labels are still those it was made for, it is made again
under the same name, with the same bytes and the same commit; if other answers came meanwhile, the
intent is closed as discarded and its name is never used.
"""

import hashlib
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, Row, func, or_, select

from core import journal
from core.database import now, writing
from core.dvc_objects import DVC_FILES, DvcObject, ObjectStore, Replaced
from core.files import file_sha256, write_atomically
from core.git import clear_dead_locks, commit, git, tags
from core.intents import begin_intent, commit_intent, intents, open_intents
from core.locks import Token, fence
from core.workspace import Workspace
from labeling.kinds import KINDS
from labeling.ledger.tables import labels, snapshots
from labeling.snapshots.replaced import as_stored, open_store
from labeling.snapshots.table import (
    SOFT,
    SnapshotConfig,
    build_table,
    fingerprint,
    from_parquet,
    read_parquet,
    split,
    to_parquet,
)

__all__ = [
    "SnapshotConfig",
    "count_changed_labels",
    "cut_snapshot",
    "fetch_shards",
    "list_snapshots",
    "load_snapshot",
    "newest_snapshot",
    "split",
    "teachers",
    "verify_remote",
    "why_soft",
]  # fmt: skip

KIND = "snapshot"
NOTHING_TO_LEARN = (
    "there is no unlabelled sample to learn from: `hone ingest` takes images in, or train on the "
    "labels with `hone retrain`"
)
COMMITTED = [*DVC_FILES, "data/.gitignore", "hone.toml"]


def cut_snapshot(
    engine: Engine,
    workspace: Workspace,
    token: Token,
    config: SnapshotConfig | None = None,
    *,
    soft: pd.DataFrame | None = None,
    why: str = "",
    teacher: str | None = None,
) -> str | None:
    """Freeze the labels in force; return the new name, or None if nothing changed since the last.

    Finishes or discards what a killed run left. `token` is the lock of the workspace's git. `soft`
    are guesses to train on beside the labels, marked as such (see `build_table`), and `why` there
    are some, or none, is kept with the intent. With a `teacher`, the model that made them, it is a
    snapshot for a student of that model: no training takes it for the newest labels, and one in
    which nothing of `soft` is left is an error.
    """
    config = config or SnapshotConfig()
    clear_dead_locks(workspace.root)
    with open_store(engine, workspace) as store:
        finished = _finish(engine, store, token)
        table = build_table(engine, config, soft, KINDS[workspace.kind])
        if teacher is not None and SOFT not in table["split"].to_pylist():
            raise ValueError(NOTHING_TO_LEARN)
        last = _newest(engine)
        content = fingerprint(table)
        if table.num_rows == 0 or (last and last.fingerprint == content):
            _discard(engine, token, unless=None)
            return finished
        about = {"fingerprint": content, "seed": config.seed, "soft": why}
        about["guesses"] = 0 if soft is None else len(soft)
        about |= {} if teacher is None else {"teacher": teacher}
        intent = _decide(engine, store, token, about)
        write_atomically(workspace.labels_table, to_parquet(table))
        _publish(engine, store, token, intent, last)
        return _record(engine, store, token, intent["name"], intent)


def load_snapshot(engine: Engine, workspace: Workspace, name: str) -> pd.DataFrame:
    """The rows of a snapshot as they were frozen; other bytes under its name are an error.

    A row whose image was erased since then is left out.
    """
    row = _known(engine, name)
    commit_id = tags(workspace.root).get(name)
    if commit_id != row.commit:
        raise ValueError(
            f"{name}: its git tag stands for {commit_id}, and {row.commit} was published; "
            f"put the tag back with `git tag --force {name} {row.commit}`"
        )
    with open_store(engine, workspace) as store:
        content = store.read(_labels(store, row.commit))
    if hashlib.sha256(content).hexdigest() != row.table_sha256:
        raise ValueError(
            f"{name}: its table has SHA-256 {hashlib.sha256(content).hexdigest()}, "
            f"{row.table_sha256} was frozen; put the DVC remote back from a backup"
        )
    table = from_parquet(content, KINDS[workspace.kind])
    with engine.connect() as connection:
        return as_stored(connection, table)


def fetch_shards(engine: Engine, workspace: Workspace, name: str) -> list[str]:
    """Bring back every shard of a snapshot that is missing or damaged here; return their names."""
    row = _known(engine, name)
    fetched = []
    with open_store(engine, workspace) as store:
        for wanted in _shards(store.objects(row.commit)):
            path = workspace.root / wanted.path
            if not path.is_file() or file_sha256(path) != path.stem:
                store.restore(wanted)
                fetched.append(path.name)
    return fetched


def list_snapshots(engine: Engine) -> pd.DataFrame:
    """All snapshots, oldest first."""
    with engine.connect() as connection:
        result = connection.execute(select(snapshots).order_by(snapshots.c.number))
        return pd.DataFrame(result.all(), columns=list(result.keys()))


def newest_snapshot(connection: Connection) -> str | None:
    """The name of the snapshot that was cut last, without those for students; None before one."""
    taught = teachers(connection)
    names = connection.scalars(select(snapshots.c.name).order_by(snapshots.c.number.desc()))
    return next((name for name in names if name not in taught), None)


def teachers(connection: Connection) -> dict[str, str]:
    """The snapshots for students, and the model whose outputs each holds."""
    made = select(intents.c.key, intents.c.payload).where(intents.c.kind == KIND)
    return {
        name: payload["teacher"]
        for name, payload in connection.execute(made).tuples()
        if payload and "teacher" in payload
    }


def snapshot_time(connection: Connection, name: str) -> str:
    """When the snapshot was cut."""
    time = select(snapshots.c.created_at).where(snapshots.c.name == name)
    return str(connection.execute(time).scalar_one())


def count_changed_labels(connection: Connection) -> int:
    """How many labels were settled or replaced since the newest snapshot was cut."""
    newest = newest_snapshot(connection)
    since = snapshot_time(connection, newest) if newest else ""
    changed = or_(labels.c.settled_at > since, labels.c.replaced_at > since)
    return connection.scalar(select(func.count()).select_from(labels).where(changed)) or 0


def why_soft(connection: Connection, name: str) -> str:
    """Why a snapshot has soft rows, or has none; empty for one cut before that was asked."""
    made = (intents.c.kind == KIND) & (intents.c.key == name)
    payload = connection.scalar(select(intents.c.payload).where(made))
    return str((payload or {}).get("soft", ""))


def verify_remote(workspace: Workspace, *names: str, replaced: Replaced | None = None) -> list[str]:
    """What is wrong on the DVC remote with the objects of these snapshots, each read to its end.

    `replaced` are objects in whose place others are (`labeling.snapshots.replaced`).
    """
    made = tags(workspace.root)
    problems = [f"{name}: its git tag is missing" for name in names if name not in made]
    with ObjectStore(workspace.root, replaced) as store:
        wanted: list[DvcObject] = []
        for name in (name for name in names if name in made):
            try:
                wanted += store.objects(made[name])
            except (RuntimeError, ValueError) as error:
                problems.append(f"{name}: {error}")
        return problems + store.problems(list(dict.fromkeys(wanted)))


def _finish(engine: Engine, store: ObjectStore, token: Token) -> str | None:
    """Give a snapshot whose tag was made, but no more, its row; return its name."""
    with engine.connect() as connection:
        left = open_intents(connection, KIND)
    for name in left.keys() & tags(store.root).keys():
        return _record(engine, store, token, name, left[name])
    return None


def _decide(
    engine: Engine, store: ObjectStore, token: Token, about: dict[str, Any]
) -> dict[str, Any]:
    """The intent to make a snapshot of this content: the open one, or a new one and its name."""
    _discard(engine, token, unless=about["fingerprint"])
    with writing(engine) as connection:
        for known in open_intents(connection, KIND).values():
            return known
        name = f"snapshot-{_last_number(connection, store) + 1:04d}"
        payload = {"name": name, **about, "created_at": now(), "journal": journal.head(connection)}
        return begin_intent(connection, token, kind=KIND, key=name, payload=payload)


def _discard(engine: Engine, token: Token, *, unless: str | None) -> None:
    """Close intents for content that is no longer what the labels say."""
    with writing(engine) as connection:
        for name, known in open_intents(connection, KIND).items():
            if known["fingerprint"] != unless:
                outcome = "discarded: the labels changed before it was visible"
                commit_intent(connection, token, kind=KIND, key=name, outcome=outcome)


def _last_number(connection: Connection, store: ObjectStore) -> int:
    """The highest number that was ever meant for a snapshot, here or in git."""
    meant = connection.scalars(select(intents.c.key).where(intents.c.kind == KIND))
    cut = connection.scalars(select(snapshots.c.name))
    names = {*meant, *cut, *(tag for tag in tags(store.root) if tag.startswith("snapshot-"))}
    numbers = [name.removeprefix("snapshot-") for name in names]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _publish(
    engine: Engine, store: ObjectStore, token: Token, intent: dict[str, Any], last: Row[Any] | None
) -> None:
    published = store.objects(last.commit) if last else []
    _track_whole_shards(store, published)
    _still(engine, token)
    name = intent["name"]
    made = commit(store.root, COMMITTED, message=_message(intent), when=intent["created_at"])
    _still(engine, token)
    store.publish(store.objects(made), verified={known.md5 for known in published})
    _still(engine, token)
    git(store.root, "tag", name, made)


def _message(intent: dict[str, Any]) -> str:
    """What the commit says: it holds the head of the journal, so that rewriting that is seen."""
    number, digest = intent.get("journal") or (0, "")  # none in an intent of an older version
    trailer = f"\n\n{journal.TRAILER}: {number} {digest}" if digest else ""
    return f"Labels of {intent['name']}{trailer}"


def _track_whole_shards(store: ObjectStore, published: list[DvcObject]) -> None:
    """Take table and shards into DVC; published shards that are gone or changed are brought back.

    A shard never changes, so what DVC read of it must be what was published; a new one must have
    the SHA-256 that is its name.
    """
    store.track()
    here = {known.path: known.md5 for known in store.objects_here()}
    hurt = [known for known in _shards(published) if here.get(known.path) != known.md5]
    for known in hurt:
        store.restore(known)
    if hurt:
        store.track()
    old = {known.path for known in published}
    for path in (store.root / known.path for known in _shards(store.objects_here())):
        if str(path.relative_to(store.root)) not in old and file_sha256(path) != path.stem:
            raise ValueError(
                f"{path} is damaged: its SHA-256 is not its name, and no copy was published yet; "
                "delete it and ingest its images again"
            )


def _record(
    engine: Engine, store: ObjectStore, token: Token, name: str, intent: dict[str, Any]
) -> str:
    """Let training see the snapshot that the tag stands for; return its name."""
    commit_id = tags(store.root)[name]
    content = store.read(_labels(store, commit_id))
    table = read_parquet(content)
    row = {
        "name": name,
        "number": int(name.removeprefix("snapshot-")),
        "fingerprint": fingerprint(table),
        "table_sha256": hashlib.sha256(content).hexdigest(),
        "rows": table.num_rows,
        "commit": commit_id,
        "seed": intent["seed"],
        "created_at": intent["created_at"],
    }
    with writing(engine) as connection:
        commit_intent(connection, token, kind=KIND, key=name)
        journal.insert(connection, snapshots, [row])
    return name


def _still(engine: Engine, token: Token) -> None:
    """Stop before the next visible step if another process took over meanwhile."""
    with writing(engine) as connection:
        fence(connection, token)


def _newest(engine: Engine) -> Row[Any] | None:
    with engine.connect() as connection:
        newest = select(snapshots).order_by(snapshots.c.number.desc()).limit(1)
        return connection.execute(newest).first()


def _known(engine: Engine, name: str) -> Row[Any]:
    with engine.connect() as connection:
        row = connection.execute(select(snapshots).where(snapshots.c.name == name)).first()
        if row is None:
            names = ", ".join(connection.scalars(select(snapshots.c.name).order_by("number")))
            raise ValueError(f"{name!r} is no snapshot; there are: {names or 'none yet'}")
    return row


def _labels(store: ObjectStore, commit_id: str) -> DvcObject:
    (tracked,) = [
        known for known in store.objects(commit_id) if known.path == "data/labels.parquet"
    ]
    return tracked


def _shards(objects: list[DvcObject]) -> list[DvcObject]:
    return [known for known in objects if known.path.startswith("data/shards/")]
