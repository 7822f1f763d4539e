"""Work in a process that does not end in an orderly way."""

import os
import signal
from collections.abc import Callable


def killed(work: Callable[[], object]) -> None:
    """Run `work` in a process that kills itself at its end."""
    child = os.fork()
    if child == 0:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
