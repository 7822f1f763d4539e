"""What is started on the leash ends with whoever holds it, its children too, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SUPERVISE = Path(__file__).parents[3] / "tasks" / "demo" / "supervise.py"
STUBBORN = (
    "import os, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
    "time.sleep(60)\n"
)
# A child in a session of its own, as a server's workers are.
PARENT = (
    "import subprocess, sys, time\n"
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}, sys.argv[1]], start_new_session=True)\n"
    "time.sleep(60)\n"
)
# Somebody who starts a server on the leash and is then killed.
STARTER = (
    "import subprocess, sys, time\n"
    "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
    "time.sleep(60)\n"
)


def leashed(script: str, note: Path) -> list[str]:
    command = [sys.executable, "-c", script, str(note)]
    return [sys.executable, "-I", str(SUPERVISE), str(int(signal.SIGTERM)), "0.3", *command]


def process_in(note: Path) -> int:
    """The process that wrote its id there."""
    while not note.exists() or not note.read_text():
        time.sleep(0.02)
    return int(note.read_text())


def wait_for_the_end_of(pid: int) -> None:
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.02)


@pytest.mark.parametrize("script", [STUBBORN, PARENT])
def test_letting_go_ends_the_command_and_its_children_even_stubborn_ones(tmp_path, script):
    supervisor = subprocess.Popen(leashed(script, tmp_path / "pid"), stdin=subprocess.PIPE)
    server = process_in(tmp_path / "pid")
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    supervisor.wait()
    assert not Path(f"/proc/{server}").exists()


def test_a_killed_starter_leaves_nothing_behind(tmp_path):
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, *leashed(STUBBORN, tmp_path / "pid")]
    )
    server = process_in(tmp_path / "pid")
    starter.kill()
    starter.wait()
    wait_for_the_end_of(server)


def test_a_command_that_ends_by_itself_ends_the_leash_with_its_status():
    command = [
        sys.executable,
        "-I",
        str(SUPERVISE),
        "15",
        "1",
        sys.executable,
        "-c",
        "raise SystemExit(7)",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as leash:
        assert leash.wait() == 7


def test_terminating_the_leash_ends_the_command(tmp_path):
    leash = subprocess.Popen(leashed(STUBBORN, tmp_path / "pid"), stdin=subprocess.PIPE)
    server = process_in(tmp_path / "pid")
    os.kill(leash.pid, signal.SIGTERM)
    leash.wait()
    assert not Path(f"/proc/{server}").exists()


def test_a_command_hears_sigint_even_when_its_starter_ignores_it(tmp_path):
    leash = [sys.executable, "-I", str(SUPERVISE), str(int(signal.SIGINT)), "20"]
    waits = "import sys, time; open(sys.argv[1], 'w').write('1'); time.sleep(60)"
    command = [*leash, sys.executable, "-c", waits, str(tmp_path / "started")]
    # What a shell does for a job in the background of a script.
    deaf = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with subprocess.Popen(deaf, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        process_in(tmp_path / "started")
        _, said = started.communicate()
    assert b"KeyboardInterrupt" in said  # asked to end it did, and not by force
