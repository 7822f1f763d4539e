"""Work in a process that does not end in an orderly way."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

from core.database import connect
from core.locks import Token, only_writer


def take_lock(url: str, name: str = "git") -> AbstractContextManager[Token]:
    """Take a lock and return what holds it: without a reference to that it is released at once."""
    lock = only_writer(connect(url), name)
    lock.__enter__()
    return lock


def killed(work: Callable[[], object]) -> None:
    """Run `work` in a process that kills itself at its end."""
    child = os.fork()
    if child == 0:
        held = work()  # noqa: F841  a reference, or its end would release the lock
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
