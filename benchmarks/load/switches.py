"""Changes of what is served while clients ask: what fails, and how soon every worker follows."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Engine

from models.registry.challengers import end_challenger, set_challenger
from models.registry.halts import HaltPolicy, add_halt, lift_halt
from models.registry.releases import Mode, current_release, release
from models.registry.rollbacks import roll_back

WHO = {"who": "load run", "why": "to measure it"}
PATIENCE = 60.0  # seconds until a change that is not followed is an error
GAUGE = re.compile(r"^(hone_release|hone_workers|hone_release_problem) ([0-9.]+)$", re.MULTILINE)


@dataclass
class Traffic:
    """What clients got: how often, from which models, and when the last answer came."""

    answered: int = 0
    retried: int = 0  # lost with a killed worker, and answered when asked again under the same id
    halted: int = 0
    failed: list[str] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    longest_gap: float = 0.0  # seconds without an answer
    last: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, response: httpx.Response | None, problem: str, *, again: bool) -> None:
        """Count an answer, or what came in its place."""
        with self.lock:
            now = time.monotonic()
            if response is not None and response.status_code == 200:
                self.longest_gap = max(self.longest_gap, now - self.last)
                self.last = now
                self.answered += 1
                self.retried += again
                self.models.add(response.json()["predictions"][0]["model"])
            elif response is not None and '"HALTED"' in response.text:
                self.halted += 1
                self.last = now
            else:
                self.failed.append(problem or f"{response and response.status_code}")


@contextmanager
def clients(url: str, images: Sequence[bytes], count: int = 4) -> Iterator[Traffic]:
    """Clients that ask one image after the other for as long as the block."""
    traffic, ended = Traffic(), threading.Event()

    def ask(number: int) -> None:
        sent = 0
        while not ended.is_set():
            sent += 1
            name = f"switch-{os.getpid()}-{number}-{sent}"
            headers = {"X-Request-ID": name, "X-Client-Key": f"client-{sent % 50}"}
            files = [("images", ("a.png", images[sent % len(images)]))]
            send: dict[str, Any] = {"headers": headers, "files": files, "timeout": 60}
            for again in (False, True):
                try:
                    response = httpx.post(f"{url}/predict", **send)
                except httpx.TransportError as error:
                    if again:
                        traffic.count(None, f"{name}: {type(error).__name__}", again=True)
                    continue
                traffic.count(response, "", again=again)
                break

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def changes(engine: Engine, first: str, second: str) -> Iterator[Callable[[], int]]:
    """Changes without an end, from `first` in service: each adds one release."""

    def words() -> dict[str, Any]:
        current = current_release(engine)
        return {**WHO, "expected": current.number if current else 0}

    def put(version: str) -> int:
        return release(engine, version=version, verdict_id=None, override=True, **words())

    def canary(share: float) -> int:
        return set_challenger(engine, version=first, mode=Mode.CANARY, share=share, **words())

    while True:
        yield lambda: put(second)
        yield lambda: canary(10.0)
        yield lambda: canary(50.0)
        yield lambda: roll_back(engine, to=first, **words())
        yield lambda: set_challenger(engine, version=second, mode=Mode.SHADOW, **words())
        yield lambda: end_challenger(engine, **words())


def seconds_to_follow(url: str, number: int, workers: int = 2) -> float:
    """How long until each of so many workers serves release `number`, with no problem."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        gauges = {name: float(value) for name, value in GAUGE.findall(_metrics(url))}
        followed = gauges.get("hone_release", 0) >= number
        if followed and gauges.get("hone_workers") == workers:
            if gauges.get("hone_release_problem"):
                raise RuntimeError(f"release {number} is not served by every worker")
            return time.monotonic() - began
        time.sleep(0.02)
    raise TimeoutError(f"release {number} was not followed in {PATIENCE:.0f} seconds: {gauges}")


def seconds_to_halt(engine: Engine, url: str, images: Sequence[bytes], answers: int = 30) -> float:
    """How long until so many requests in a row are refused by a halt, which is lifted then."""
    from core.database import writing

    with writing(engine) as connection:
        add_halt(connection, policy=HaltPolicy.REFUSE, decision_id=None, **WHO)
    seconds = _seconds_until(url, images, answers, 503)
    with writing(engine) as connection:
        lift_halt(connection, **WHO)
    _seconds_until(url, images, answers, 200)
    return seconds


def _seconds_until(url: str, images: Sequence[bytes], answers: int, status: int) -> float:
    """How long until so many answers in a row begin to have this status."""
    began, in_a_row, first = time.monotonic(), 0, 0.0
    files = [("images", ("a.png", images[0]))]
    while in_a_row < answers:
        response = httpx.post(f"{url}/predict", files=files, timeout=60)
        in_a_row = in_a_row + 1 if response.status_code == status else 0
        if in_a_row == 1:
            first = time.monotonic() - began
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"a halt was not followed in {PATIENCE:.0f} seconds")
    return first


def kill_one(url: str) -> int:
    """Kill the worker that answers next; return its process id."""
    worker = int(httpx.get(f"{url}/status", timeout=60).json()["worker"])
    os.kill(worker, signal.SIGKILL)
    return worker


def seconds_until_replaced(url: str, killed: int, workers: int = 2) -> float:
    """How long until so many workers answer again, none of them the one that was killed."""
    began, others = time.monotonic(), set[int]()
    while len(others) < workers:
        try:
            others.add(int(httpx.get(f"{url}/status", timeout=60).json()["worker"]))
        except httpx.TransportError:  # it was the one that was killed
            continue
        others.discard(killed)
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"worker {killed} was not replaced in {PATIENCE:.0f} seconds")
        time.sleep(0.05)
    return time.monotonic() - began


def _metrics(url: str) -> str:
    try:
        return httpx.get(f"{url}/metrics", timeout=60).text
    except httpx.TransportError:  # the worker was killed at this moment
        return ""
