"""How far the segments of a folder beside those of predictions were read into the database."""

import stat
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from core import journal
from models.serving.prediction_store import segments


def progress(engine: Engine, traffic: Path, folder: str) -> list[tuple[Path, int, int]]:
    """Every segment of `traffic/folder` with its size and the offset up to which it was drained."""
    with engine.connect() as connection:
        rows = connection.execute(select(segments).where(segments.c.name.startswith(f"{folder}/")))
        done = {row.name: row.drained_to for row in rows}
    sizes = {}
    for path in (traffic / folder).glob("*.seg"):
        with suppress(FileNotFoundError):  # another drain removed it: it was empty
            if stat.S_ISREG((about := path.stat()).st_mode):
                sizes[path] = about.st_size
    return [(path, sizes[path], done.get(f"{folder}/{path.name}", 0)) for path in sorted(sizes)]


def note_progress(connection: Connection, folder: str, name: str, end: int) -> None:
    """Record in the caller's transaction that a segment was drained up to `end`."""
    key = f"{folder}/{name}"
    if not journal.update(connection, segments, segments.c.name == key, drained_to=end):
        journal.insert(connection, segments, [{"name": key, "drained_to": end}])
