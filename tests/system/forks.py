"""Work in a process of its own that may be killed; what it imported, its parent has already."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable

import httpx


def import_tools() -> None:
    """Import here, once, what steps import when they first need it, and each fork would again."""
    import bentoml
    import dvc.repo
    import label_studio_sdk
    import wandb

    from core.checks import schema_parts

    assert all((bentoml, dvc.repo, label_studio_sdk, wandb))
    gc.freeze()  # forks neither look for garbage among what was imported nor copy it for that
    schema_parts()  # of every fsck: a database that goes through all migrations


def in_a_fork(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; return the signal that ended it, 0 for none."""
    return end_of(begin(work))


def begin(work: Callable[[], None]) -> int:
    """Begin `work` in a process and a session of its own; return its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def end_of(child: int) -> int:
    """Wait for a process; return the signal that ended it, 0 for none."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise SystemExit(f"an attempt ended with exit code {os.WEXITSTATUS(status)}")
    return 0


def end_session(child: int) -> None:
    """End what a killed process of `begin` left running."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def die_after_replies(count: int) -> list[str]:
    """Make the `count`th reply to a request the last thing this process gets; 0 is never.

    Returns the requests made, while they are made.
    """
    send, made = httpx.Client.send, list[str]()

    def deadly(line: httpx.Client, request: httpx.Request, **more: object) -> httpx.Response:
        reply = send(line, request, **more)  # type: ignore[arg-type]
        made.append(f"{request.method} {request.url.path}")
        if len(made) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply

    httpx.Client.send = deadly  # type: ignore[method-assign, assignment]
    return made
