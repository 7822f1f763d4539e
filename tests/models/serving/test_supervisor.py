"""A worker watches the process that started it; tests/system/test_service.py kills a real one."""

import os
import socket
import subprocess
import sys
import threading

import psutil
import pytest

from models.serving import supervisor
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


def start_worker(parent: int, how: str = "usual") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, how],
        env={**os.environ, SUPERVISOR: str(parent), "PYTHONPATH": os.pathsep.join(sys.path)},
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


def test_a_port_that_another_server_has_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "PORT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} of 127.0.0.1 is taken by another"):
            supervisor.refuse_taken_port("127.0.0.1", port)
    supervisor.refuse_taken_port("127.0.0.1", port)


def test_a_port_that_is_left_in_time_is_taken() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    threading.Timer(0.3, server.close).start()
    supervisor.refuse_taken_port("127.0.0.1", port)
    assert server.fileno() == -1
