"""Runs a command, and ends it with everything it started when its starter lets go or dies.

Called by path, with the standard library only: `python -I supervise.py SIGNAL SECONDS COMMAND...`.
Its standard input is a pipe that the starter holds open. The kernel closes that pipe however the
starter ends, SIGKILL included, so no server outlives who started it. (A parent-death signal would
not do: it fires when the starting *thread* ends, and setting it between fork and exec can lock up
a process that has threads, as ours do.)
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

BECOME_REAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans of our command become our children


def main(stop_signal: int, patience: float, command: list[str]) -> int:
    """Run `command` until it ends or standard input closes; return its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A script's background job ignores SIGINT, and so does all it starts: a server that is asked to
    # end by SIGINT (Prefect's worker asks itself) would never hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(BECOME_REAPER, 1, 0, 0, 0)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while child.poll() is None:
            if select.select([sys.stdin], [], [], 0.1)[0]:
                break
    finally:
        stop(child, stop_signal, patience)
    return child.returncode


def stop(child: subprocess.Popen[bytes], stop_signal: int, patience: float) -> None:
    """Ask the command's process group to end, then end by force whatever is left of it."""
    if child.poll() is None:
        signal_group(child.pid, stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
    signal_group(child.pid, signal.SIGKILL)
    child.wait()
    end_orphans(time.monotonic() + patience)


def signal_group(pid: int, what: int) -> None:
    """Signal the group that `pid` leads, if anyone is left in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, what)


def end_orphans(deadline: float) -> None:
    """Kill and reap children that left the group (Linux hands them to us, see BECOME_REAPER)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while time.monotonic() < deadline and children.exists():
        pids = children.read_text().split()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
