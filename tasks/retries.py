"""What a second try can mend: a server or a lock that was busy, not an input that is wrong."""

from typing import Any

from core.database_faults import DatabaseFault
from core.locks import LockBusy

TRANSIENT_ERRORS = (OSError, LockBusy)  # ConnectionError and TimeoutError are OSErrors


def is_transient_error(task: Any, run: Any, state: Any) -> bool:
    """Whether the error of a task is one that waiting can mend.

    A task that lost its database in the middle of a transaction is run again as a whole: what it
    had stored before, it finds.
    """
    error = state.data
    if isinstance(error, DatabaseFault):
        return error.passes
    if isinstance(error, TRANSIENT_ERRORS):
        return True
    return type(error).__module__.partition(".")[0] in ("httpx", "httpcore")


def is_lock_busy(task: Any, run: Any, state: Any) -> bool:
    """Whether another process holds what is needed: it may take an hour, and then it is free."""
    return isinstance(state.data, LockBusy)
