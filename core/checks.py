"""What database, locks, intents and the git repository promise, checked."""

from collections.abc import Iterator
from functools import cache

from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from core.access import is_open_to_others
from core.database import connect, metadata, stream, upgrade
from core.findings import RESTORE, Finding
from core.git import git
from core.intents import intents
from core.locks import locks
from core.workspace import Workspace

PARTS = ("table", "index", "trigger")
PROBLEMS = 20  # of one database that are listed: the first tell enough
REPAIRS = "`hone fsck --repair` makes it anew"


def the_database_is_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Pages, indexes and rows that the database itself finds damaged."""
    remedy = "`hone fsck --repair` rebuilds indexes; a damaged table comes from a backup"
    try:
        with engine.connect() as connection:
            for problem in _damage(connection):
                yield Finding("I2", f"the database {engine.url.database}: {problem}", remedy)
    except SQLAlchemyError as error:
        yield Finding("I2", str(error).splitlines()[0], RESTORE)


def _damage(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for line in connection.execute(text(f"PRAGMA integrity_check({PROBLEMS})")).scalars():
            if line != "ok":
                yield str(line)
        return
    for table in metadata.sorted_tables:  # a page is checked against its sum when it is read
        for _ in stream(connection, select(table)):
            continue
    invalid = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE NOT indisvalid"
    yield from (
        f"index {name} is not valid" for name in connection.execute(text(invalid)).scalars()
    )
    failures = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
    if connection.scalar(text(failures)):
        yield "pages were read whose checksum is wrong (pg_stat_database.checksum_failures)"


def tables_and_triggers_are_there(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Tables, indexes and triggers of the schema that are gone or another than was made."""
    wanted = schema_parts()
    with engine.connect() as connection:
        present = _parts(connection)
    for kind, name in sorted(wanted.keys() - present.keys()):
        yield Finding("I2", f"{kind} {name} is gone from the database", _remade(kind))
    for kind, name in sorted(wanted.keys() & present.keys()):
        if present[kind, name] not in (None, wanted[kind, name]) and kind != "table":
            yield Finding("I2", f"{kind} {name} of the database is another one", _remade(kind))


def remake_indexes_and_triggers(connection: Connection) -> None:
    """Make indexes and triggers that are gone or changed anew, and rebuild damaged ones."""
    if connection.dialect.name != "sqlite":
        return
    present = _parts(connection)
    for (kind, name), made_by in schema_parts().items():
        if kind != "table" and made_by and present.get((kind, name)) != made_by:
            connection.exec_driver_sql(f"DROP {kind} IF EXISTS {name}")
            connection.exec_driver_sql(made_by)
    if any(_damage(connection)):
        connection.exec_driver_sql("REINDEX")


def _remade(kind: str) -> str:
    return RESTORE if kind == "table" else REPAIRS


@cache
def schema_parts() -> dict[tuple[str, str], str]:
    """Every table, index and trigger of the newest schema, and the SQL that makes it (SQLite)."""
    fresh = connect("sqlite://")
    upgrade(fresh)
    with fresh.connect() as connection:
        return {part: made_by or "" for part, made_by in _parts(connection).items()}


def _parts(connection: Connection) -> dict[tuple[str, str], str | None]:
    """The parts of a schema, and the SQL that made each, where the database keeps that."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT type, name, sql FROM sqlite_master"))
        return {
            (row.type, row.name): row.sql
            for row in rows
            if row.type in PARTS and not row.name.startswith("sqlite_")
        }
    reader = inspect(connection)
    names = [("table", name) for name in reader.get_table_names()]
    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
    names += [("index", name) for name in connection.execute(text(indexes)).scalars()]
    triggers = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    names += [("trigger", name) for name in connection.execute(text(triggers)).scalars()]
    return dict.fromkeys(names)


def rows_lead_to_rows(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Rows that name a row of another table which is not there: foreign keys, on any database."""
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for key in sorted(table.foreign_keys, key=lambda key: key.parent.name):
                lost = select(key.parent, func.count()).group_by(key.parent)
                lost = lost.where(key.parent.is_not(None))
                lost = lost.where(key.parent.not_in(select(key.column)))
                for value, rows in stream(connection, lost):
                    what = f"{table.name}.{key.parent.name} {value} is not in {key.column.table}"
                    yield Finding("I9", f"{what} (rows: {rows})", RESTORE)


def tokens_only_rise(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Intents that carry a token higher than any that was handed out."""
    with engine.connect() as connection:
        highest = connection.scalar(select(func.max(locks.c.token))) or 0
        for row in connection.execute(select(intents).where(intents.c.token > highest)):
            yield Finding(
                "I8",
                f"intent {row.kind} {row.key} has token {row.token}, above {highest}",
                f"the table of locks was set back: {RESTORE}",
            )


def others_have_no_access(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """A workspace that users outside its group may enter."""
    if is_open_to_others(workspace.root):
        yield Finding(
            "I14",
            f"{workspace.root} is open to every user of this machine, who may read its images and "
            "answers, and change what its modes let them",
            "`hone fsck --repair` takes their rights away, as `chmod -R o= .` in it does; Label "
            "Studio and a service that run as other users then need the workspace's group",
        )


def the_repository_is_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Objects and references of the workspace's git that are damaged, and its files if gone."""
    try:
        git(workspace.root, "fsck", "--full", "--strict", "--no-dangling", "--no-progress")
        git(workspace.root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if _is_index_gone(workspace):
            yield Finding("I5", f"{workspace.root / '.git/index'}: the index is gone", REPAIRS)
        gone = missing_files(workspace)
    except RuntimeError as error:
        first = "; ".join(str(error).splitlines()[:3])
        yield Finding("I5", f"the git repository: {first}", "put .git back from a backup")
        return
    for name in gone:
        yield Finding("I5", f"{workspace.root / name} is missing", f"{REPAIRS} from git")


def _is_index_gone(workspace: Workspace) -> bool:
    """Whether git's index is gone; one that cannot be read is an error."""
    if not (workspace.root / ".git" / "index").exists():
        return True
    git(workspace.root, "diff-index", "--cached", "--name-only", "HEAD")
    return False


def mend_index(workspace: Workspace) -> None:
    """Make git's index anew from HEAD where it is gone or cannot be read."""
    try:
        is_gone = _is_index_gone(workspace)
    except RuntimeError:
        is_gone = True
    if is_gone:
        (workspace.root / ".git" / "index").unlink(missing_ok=True)
        git(workspace.root, "read-tree", "HEAD")


def missing_files(workspace: Workspace) -> list[str]:
    """The workspace's files that git keeps and that are gone, but for DVC's notes.

    A snapshot that is being made writes those anew.
    """
    listed = git(workspace.root, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    others = [name for name in listed if not name.endswith(".dvc")]
    return [name for name in others if not (workspace.root / name).exists()]
