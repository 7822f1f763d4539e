"""What a database that fails says to a person: what it is, why it fails, and what to do.

SQLAlchemy's own text is the statement and its parameters, which are of no use to a person and may
hold what nobody should read.
"""

from pathlib import Path

import psutil
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

WRITE_LOCK = 120  # byte of the -shm file that the writer of an SQLite database locks
RERUN = "run the command again: what was stored is not done twice"
BACK_SOON = ("refused", "starting up", "shutting down", "recovery", "timeout", "timed out",
             "closed the connection", "too many", "No such file")  # fmt: skip

LOCKED = 5
_SQLITE = {
    LOCKED: "is locked by another writer",
    6: "is locked by another statement of this process",
    8: "is read-only",
    10: "could not be read or written",
    11: "is damaged",
    13: "did not fit on the disk",
    14: "could not be opened",
    26: "is no SQLite database",
}
_SQLITE_REMEDIES = {
    LOCKED: "wait for it, or end it, and {rerun}",
    6: "{rerun}",
    8: "let this user write {path} and its folder {folder}, and mount the disk writable; {rerun}",
    10: "look at the disk of {folder}, then {rerun}",
    11: "restore it from a backup",
    13: "free space on the disk of {folder}, then {rerun}",
    14: "let this user read and write {path} and its folder {folder}; {rerun}",
    26: "restore it from a backup",
}
_POSTGRESQL = {  # first characters of the SQLSTATE, what it means, what to do, does it pass
    "08": ("does not answer", "wait for the server, or start it, and {rerun}", True),
    "57P": ("does not answer", "wait for the server, or start it, and {rerun}", True),
    "25006": ("is read-only", "point HONE_DATABASE_URL at the primary, or set "
              "default_transaction_read_only off; {rerun}", False),
    "53100": ("is out of disk space", "free space on the server's disk, then {rerun}", False),
    "53300": ("takes no more connections", "raise max_connections, or {rerun} later", True),
    "40": ("gave way to another transaction", "{rerun}", True),
    "55P03": ("is locked by another transaction", "{rerun}", True),
    "28": ("refuses this user", "correct HONE_DATABASE_URL", False),
    "3D": ("is not there", "create it, or correct HONE_DATABASE_URL", False),
    "42501": ("refuses this user", "grant the user of HONE_DATABASE_URL the schema", False),
}  # fmt: skip


class DatabaseFault(SQLAlchemyError, RuntimeError):
    """The database did not do what was asked, for a cause outside Hone: input, cause, remedy."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes  # waiting can mend it


def fault_of(url: URL, error: BaseException | None, is_disconnect: bool) -> DatabaseFault | None:
    """The fault that an error of the driver stands for; None for a mistake in a statement."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_fault(url, error)
    state = getattr(error, "sqlstate", None)
    known = next(
        (row for start, row in _POSTGRESQL.items() if (state or "").startswith(start)), None
    )
    if state is None and "connection failed" in str(error) and not is_away(error):
        known = "could not be opened", "correct HONE_DATABASE_URL", False
    if known is None and not (is_disconnect or is_away(error)):
        return None
    what, remedy, passes = known or _POSTGRESQL["08"]
    stored = "; a transaction that was under way is stored whole or not at all" if passes else ""
    return DatabaseFault(
        f"the database {name_of(url)} {what} ({_first_line(error)}){stored}: "
        f"{remedy.format(rerun=RERUN)}",
        passes=passes,
    )


def gone(path: Path) -> DatabaseFault:
    """The fault of an SQLite database whose file was deleted or moved while it was open."""
    return DatabaseFault(
        f"the database {path} was deleted or moved while it was in use; nothing more was written: "
        f"put it back, or restore it from a backup, and {RERUN}",
        passes=False,
    )


def is_away(error: BaseException | None) -> bool:
    """Whether a server could not be reached and may be back soon, as after a restart."""
    state, text = getattr(error, "sqlstate", None), str(error)
    if state is not None:
        return str(state).startswith(("08", "57P", "53300"))
    return any(words in text for words in BACK_SOON)


def name_of(url: URL) -> str:
    """The database as a person knows it, without the password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"{url.database} at {url.host}:{url.port or 5432}"


def writer_of(path: Path) -> str:
    """The process that holds the write lock of an SQLite database, as far as the system tells."""
    shared, locks = Path(f"{path}-shm"), Path("/proc/locks")
    if not (shared.exists() and locks.exists()):
        return "another process"
    inode = shared.stat().st_ino  # not opened: closing it would release the locks of this process
    for line in locks.read_text().splitlines():
        words = line.split()
        if "WRITE" not in words or "->" in words:
            continue
        _, place, start, end = words[-4:]
        held = int(start) <= WRITE_LOCK and (end == "EOF" or int(end) >= WRITE_LOCK)
        if held and place.endswith(f":{inode}"):
            return _process(int(words[-4]))
    return "another process"


def _process(process_id: int) -> str:
    try:
        words = " ".join(" ".join(psutil.Process(process_id).cmdline()).split())[:100]
    except psutil.Error:
        return f"process {process_id}"
    return f"process {process_id} ({words})"


def _sqlite_fault(url: URL, error: BaseException | None) -> DatabaseFault | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF not in _SQLITE:
        return None
    code, path = code & 0xFF, Path(str(url.database))
    holder = f": {writer_of(path)}" if code == LOCKED else ""
    remedy = _SQLITE_REMEDIES[code].format(rerun=RERUN, path=path, folder=path.parent)
    return DatabaseFault(
        f"the database {path} {_SQLITE[code]}{holder} ({error}): {remedy}",
        passes=code in (LOCKED, 6),
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
