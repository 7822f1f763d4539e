"""A worker watches the process that started it; tests/system/test_service.py kills a real one."""

import os
import subprocess
import sys

import psutil
import pytest

from models.serving.supervisor import SUPERVISOR, end_with_supervisor, name_supervisor

WORKER = """
import signal, sys, time
from models.serving import supervisor
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
supervisor.end_with_supervisor()
print("started", flush=True)
time.sleep(600)
"""


def start_worker(supervisor: int, how: str = "usual") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, how],
        env={**os.environ, SUPERVISOR: str(supervisor), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )


@pytest.mark.parametrize("how", ["usual", "deaf"])
def test_a_worker_ends_when_its_supervisor_is_killed(how: str) -> None:
    supervisor = subprocess.Popen(["sleep", "600"])
    worker = start_worker(supervisor.pid, how)
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"started\n"
    assert worker.poll() is None
    supervisor.kill()  # a zombie until it is waited for: that counts as gone
    assert worker.wait(timeout=60) != 0
    supervisor.wait()


def test_a_worker_whose_supervisor_was_gone_before_ends_too() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert start_worker(gone.pid).wait(timeout=60) != 0


def test_nothing_is_watched_where_no_supervisor_started_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = psutil.Process().num_threads()
    monkeypatch.delenv(SUPERVISOR, raising=False)
    end_with_supervisor()
    monkeypatch.setenv(SUPERVISOR, "")
    name_supervisor()
    assert os.environ[SUPERVISOR] == str(os.getpid())
    end_with_supervisor()
    assert psutil.Process().num_threads() == before
