"""What a second try can mend: a server or a lock that was busy, not an input that is wrong."""

from typing import Any

from sqlalchemy.exc import OperationalError

from core.locks import LockBusy

TRANSIENT_ERRORS = (
    OSError,
    LockBusy,
    OperationalError,
)  # ConnectionError and TimeoutError are OSErrors


def is_transient_error(task: Any, run: Any, state: Any) -> bool:
    """Whether the error of a task is one that waiting can mend."""
    error = state.data
    if isinstance(error, TRANSIENT_ERRORS):
        return True
    return type(error).__module__.partition(".")[0] in ("httpx", "httpcore")


def is_lock_busy(task: Any, run: Any, state: Any) -> bool:
    """Whether another process holds what is needed: it may take an hour, and then it is free."""
    return isinstance(state.data, LockBusy)
