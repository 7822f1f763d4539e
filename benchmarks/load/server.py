"""`bentoml serve` as a service manager runs it, and how its workers use memory and files."""

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
TERMINATING = 10.0  # seconds
RESTART_SECONDS = 1.0  # as `Restart=always` of systemd with `RestartSec=1`
STARTING = 300.0


class ManagedServer:
    """A server that is started again whenever it ends, until it is stopped."""

    def __init__(self, port: int, log: Path, environment: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.starts = 0
        self._words = [sys.executable, "-m", "bentoml", "serve", str(REPOSITORY),
                       "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
        self._log, self._environment = log, dict(environment)
        self._stopped = threading.Event()
        self._process: psutil.Popen | None = None
        self._every: dict[int, psutil.Process] = {}  # processes ever started, to end at the end
        self._thread = threading.Thread(target=self._keep_up, daemon=True)

    def start(self) -> None:
        """Start, and return when it answers."""
        self._thread.start()
        deadline = time.monotonic() + STARTING
        while not self.is_ready():
            if time.monotonic() > deadline or self.starts > 3:
                raise RuntimeError(f"the service does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it in order, and kill what is left."""
        self._stopped.set()
        while self._thread.is_alive():
            if self._process is not None and self._process.is_running():
                self.workers()
                self._process.terminate()  # once more: a supervisor that starts loses the signal
            self._thread.join(TERMINATING)
        psutil.wait_procs(list(self._every.values()), timeout=30)
        for process in self._every.values():
            if process.is_running():
                process.kill()

    def is_ready(self) -> bool:
        """Whether a worker says that it can predict."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @property
    def parent(self) -> psutil.Process | None:
        """The process that was started last."""
        return self._process

    def workers(self) -> list[psutil.Process]:
        """The processes of the present server that answer requests."""
        try:
            children = self._process.children(recursive=True) if self._process else []
            self._every.update({child.pid: child for child in children})
            return [one for one in children if any("_bentoml_impl.worker.service" in word
                                                   for word in one.cmdline())]  # fmt: skip
        except psutil.NoSuchProcess:
            return []

    def _keep_up(self) -> None:
        while not self._stopped.is_set():
            self.starts += 1
            with self._log.open("ab") as log:
                self._process = psutil.Popen(
                    self._words,
                    env=self._environment,
                    cwd="/",
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._every[self._process.pid] = self._process
            self._process.wait()
            self._stopped.wait(RESTART_SECONDS)


@dataclass(frozen=True)
class Usage:
    """What a worker used at one moment."""

    at: float
    age: float
    memory: int  # bytes resident
    files: int  # open descriptors that are no connections


class Meter:
    """Reads every second what each worker uses."""

    def __init__(self, server: ManagedServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.usage: dict[int, list[Usage]] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(1.0):
            for worker in self._server.workers():
                try:
                    age = time.time() - worker.create_time()
                    one = Usage(time.time(), age, worker.memory_info().rss, _files(worker.pid))
                except (psutil.NoSuchProcess, OSError):  # it ended just now
                    continue
                self.usage.setdefault(worker.pid, []).append(one)


def _files(process_id: int) -> int:
    count = 0
    for link in Path(f"/proc/{process_id}/fd").iterdir():
        try:
            count += not str(link.readlink()).startswith("socket:")
        except FileNotFoundError:  # closed since it was listed
            continue
    return count
