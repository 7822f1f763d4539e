"""Moments inside a step at which it may be killed: counted, so that each kill can be repeated.

A moment is a change of the world that is about to begin, or has just been made: a file opened for
writing, renamed or removed, an fsync, a statement that writes, a commit, a program that is started
or runs, a request that is sent or answered. Sleeping for a random time would rarely hit them.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, event

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
FILES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
READS = ("SELECT", "PRAGMA", "BEGIN", "EXPLAIN")


class Moments:
    """The moments of this process so far; the `fatal`th is its last, 0 is none.

    With `whole_group` what it started dies with it, as when a container is stopped; without, git
    and other programs go on alone. Moments of other threads count in a server only: elsewhere their
    number is by chance.
    """

    def __init__(
        self, below: Path, fatal: int = 0, *, whole_group: bool = False, threads: bool = False
    ) -> None:
        self.names: list[str] = []
        self._below = str(below)
        self._fatal = fatal
        self._kill: Callable[[int, int], None] = os.killpg if whole_group else os.kill
        self._threads = threads
        self._counting = False  # what is done in order to count does not count

    def hit(self, name: str) -> None:
        """Count one moment, and die in it if it is the fatal one."""
        if not self._threads and threading.current_thread() is not threading.main_thread():
            return
        self.names.append(name)
        if len(self.names) == self._fatal:
            self._kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Begin to count; it cannot be ended, so use it in a fork."""
        sys.addaudithook(self._audited)
        start, send = subprocess.Popen.__init__, httpx.Client.send

        def watched(act: Callable[[Any], None]) -> Callable[[Any], None]:
            def sync(descriptor: Any) -> None:
                self.hit("before fsync")
                act(descriptor)

            return sync

        def started(program: Any, args: Any, *more: Any, **named: Any) -> None:
            start(program, args, *more, **named)
            self.hit(f"while {_words(args)} runs")

        def sent(line: Any, request: Any, **named: Any) -> Any:
            self.hit(f"before {request.method} {request.url.path}")
            reply = send(line, request, **named)
            self.hit(f"after {request.method} {request.url.path}")
            return reply

        for name in ("fsync", "fdatasync"):
            setattr(os, name, watched(getattr(os, name)))
        subprocess.Popen.__init__ = started  # type: ignore[assignment, method-assign]
        httpx.Client.send = sent  # type: ignore[assignment, method-assign]
        event.listen(Engine, "before_cursor_execute", self._executed)
        event.listen(Engine, "commit", lambda _: self.hit("before commit"))

    def _audited(self, name: str, values: tuple[Any, ...]) -> None:
        if name == "subprocess.Popen":
            self.hit(f"before {_words(values[1])}")
        elif name in FILES or (name == "open" and isinstance(values[2], int) and _writes(values)):
            path = os.fsdecode(values[0]) if isinstance(values[0], str | bytes) else ""
            if path.startswith(self._below):
                self.hit(f"before {name} {path.removeprefix(self._below)}")

    def _executed(self, _: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.lstrip().upper().startswith(READS):
            self.hit(f"before {' '.join(statement.split()[:3])}")


def _writes(values: tuple[Any, ...]) -> bool:
    return bool(values[2] & WRITES)


def _words(args: Any) -> str:
    """A command without its options and folders, to tell one from another."""
    words = [args] if isinstance(args, str | bytes) else list(args)
    plain = [os.path.basename(os.fsdecode(word)) for word in words]  # noqa: PTH119
    return " ".join(word for word in plain if not word.startswith("-") and "=" not in word)[:60]
