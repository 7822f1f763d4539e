"""What happens to the service during the run, drawn from a seed, and who does it."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine

from benchmarks.load.disk import Disk
from benchmarks.load.server import REPOSITORY, ManagedServer
from models.registry.releases import current_release, release

WORKER, PARENT, STOP, RELEASE, FULL, DRAIN = (
    "worker killed", "parent killed", "worker stopped", "release", "disk full", "drain killed",
)  # fmt: skip
CONTINUE, FREE = "worker continues", "disk freed"
FIRST, LAST = 0.05, 0.9  # of the run: before and after it nothing happens
STOPPED = 5.0  # seconds of a worker under SIGSTOP
WAIT = 300.0  # for a worker to kill: the parent may have been killed just before


@dataclass(frozen=True)
class Event:
    """A fault as planned: seconds after the beginning, and what."""

    after: float
    kind: str


@dataclass(frozen=True)
class Fault:
    """A fault as it happened."""

    at: float
    kind: str
    detail: str


@dataclass(frozen=True)
class Served:
    """A release: the model that is served from then on, and when the call began and returned."""

    model: str
    began: float
    ended: float


def plan(seed: int, seconds: float, kills: int) -> list[Event]:
    """The events of a run of `seconds`: a quarter of the kills hit the parent."""
    rng = random.Random(seed)
    parents = max(kills // 4, 1)
    held = min(seconds / 30, 10.0)  # a full disk
    counts = {WORKER: kills - parents, PARENT: parents, STOP: max(kills // 6, 1),
              RELEASE: max(kills // 3, 2), FULL: max(kills // 10, 1),
              DRAIN: max(kills // 6, 1)}  # fmt: skip
    events = []
    for kind, count in counts.items():
        for turn in range(count):
            share = (turn + rng.random()) / count
            events.append(Event(seconds * (FIRST + share * (LAST - FIRST)), kind))
    pairs = {STOP: (CONTINUE, STOPPED), FULL: (FREE, held)}
    events += [
        Event(event.after + pairs[event.kind][1], pairs[event.kind][0])
        for event in events
        if event.kind in pairs
    ]
    return sorted(events, key=lambda event: event.after)


class Saboteur:
    """Does what the plan says, in a thread of its own, and writes down what was done and when."""

    def __init__(
        self,
        server: ManagedServer,
        disk: Disk,
        *,
        engine: Engine,
        versions: list[str],
        workspace: Path,
        environment: Mapping[str, str],
        seed: int,
    ) -> None:
        self.faults: list[Fault] = []
        self.served: list[Served] = []
        self.problems: list[str] = []
        self._server, self._disk, self._engine = server, disk, engine
        self._versions, self._workspace = versions, workspace
        self._environment = environment
        self._rng = random.Random(seed)
        self._stopped: list[psutil.Process] = []
        self._drain: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._acts: dict[str, Callable[[], str]] = {
            WORKER: self._kill_worker, PARENT: self._kill_parent, STOP: self._stop_worker,
            CONTINUE: self._continue, RELEASE: self.release, FULL: self._fill, FREE: self._free,
            DRAIN: self._kill_drain,
        }  # fmt: skip

    def start(self, events: list[Event]) -> None:
        """Begin: the clock of the plan starts now, and a drain runs beside the service."""
        self._begin_drain()
        self._thread = threading.Thread(target=self._work, args=(events,), daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Whether everything that was planned has happened."""
        return self._thread is not None and not self._thread.is_alive()

    def stop(self) -> None:
        """End, and put right what is still stopped or full."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._continue()
        self._disk.free()
        if self._drain is not None:
            self._drain.kill()
            self._drain.wait()

    def release(self) -> str:
        """Release the model that is not in service."""
        current = current_release(self._engine)
        number = current.number if current else 0
        version = self._versions[number % len(self._versions)]
        began = time.time()
        release(self._engine, version=version, verdict_id=None, who="load run",
                why=f"turn {number}", expected=number, override=True)  # fmt: skip
        self.served.append(Served(version, began, time.time()))
        return version

    def _work(self, events: list[Event]) -> None:
        began = time.monotonic()
        for event in events:
            if self._ended.wait(max(began + event.after - time.monotonic(), 0)):
                return
            at = time.time()
            try:
                detail = self._acts[event.kind]()
            except Exception as error:  # the run goes on, and ends with exit code 1
                self.problems.append(f"{event.kind} failed: {type(error).__name__}: {error}")
                continue
            at = time.time() if event.kind in (WORKER, PARENT) else at  # it may have waited
            self.faults.append(Fault(at, event.kind, detail))

    def _kill_worker(self) -> str:
        worker = self._any_worker()
        worker.kill()
        return f"process {worker.pid}"

    def _kill_parent(self) -> str:
        self._any_worker()  # a server that has just begun is killed by the next event, too
        parent = self._server.parent
        assert parent is not None
        parent.kill()
        return f"process {parent.pid}"

    def _stop_worker(self) -> str:
        worker = self._any_worker()
        worker.send_signal(signal.SIGSTOP)
        self._stopped.append(worker)
        return f"process {worker.pid}"

    def _continue(self) -> str:
        ids = [str(worker.pid) for worker in self._stopped]
        for worker in self._stopped:
            if worker.is_running():
                worker.send_signal(signal.SIGCONT)
        self._stopped.clear()
        return f"process {', '.join(ids)}"

    def _fill(self) -> str:
        self._disk.fill()
        return self._disk.what

    def _free(self) -> str:
        self._disk.free()
        return ""

    def _kill_drain(self) -> str:
        assert self._drain is not None
        ended = self._drain.poll()
        if ended is not None:
            self.problems.append(f"a drain ended by itself with {ended}; see drain.log")
        self._drain.kill()
        self._drain.wait()
        self._begin_drain()
        return f"process {self._drain.pid} is the next"

    def _begin_drain(self) -> None:
        with (self._workspace.parent / "drain.log").open("ab") as log:
            self._drain = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load.drain", str(self._workspace)],
                env={**self._environment, "PYTHONPATH": str(REPOSITORY)},
                stdout=log,
                stderr=log,
            )

    def _any_worker(self) -> psutil.Process:
        deadline = time.monotonic() + WAIT
        while not (workers := self._server.workers()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server has had no worker for {WAIT:.0f} s")
            self._continue()  # a stopped worker holds the port, and ends when it continues
            time.sleep(0.1)
        return self._rng.choice(sorted(workers, key=lambda worker: worker.pid))
