"""Requests at a fixed rate, whether answers come or not, and a synced journal of what came."""

import asyncio
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

GOOD, BAD, OVERSIZE, RETRY = "good", "bad image", "oversize", "retry"
SHARES = {GOOD: 0.95, BAD: 0.03, OVERSIZE: 0.01, RETRY: 0.01}
EXPECTED = {GOOD: 200, RETRY: 200, BAD: 400, OVERSIZE: 413}
TIMEOUT = 30.0  # of one request: longer than any gap, so that an answer that is late still counts
BOUNDARY = "hone-load"
SIDE = 32  # pixels of an image's side
OVERSIZE_BYTES = 40 * 2**20
LATER = 1.0  # a request is repeated when it is this old: its answer came, or it was lost
ANSWER = ("prediction_id", "sample_id", "model", "label", "confidence", "probabilities")


@dataclass
class Sent:
    """One request: when it was due, when it was sent and ended, and what came back."""

    number: int
    kind: str
    request_id: str
    image: int
    due: float
    ended: float = 0.0
    status: int | None = None  # None: no whole answer came
    digest: str | None = None  # of the answer, for status 200
    note: str = ""

    @property
    def latency(self) -> float:
        """Seconds from when the request was due, not from when there was time to send it."""
        return self.ended - self.due

    @property
    def is_as_expected(self) -> bool:
        """Whether it got the answer that a healthy service gives."""
        return self.status == EXPECTED[self.kind]


class Journal:
    """The client's own record, synced to disk; what it holds of the service needs no service."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sync, daemon=True)
        self._thread.start()

    def note(self, event: str, sent: Sent) -> None:
        """Append a line; it is on disk a tenth of a second later at most."""
        self._file.write(json.dumps({"event": event, **asdict(sent)}) + "\n")

    def close(self) -> None:
        """Sync the rest."""
        self._ended.set()
        self._thread.join()
        self._file.close()

    def _sync(self) -> None:
        while not self._ended.wait(0.1):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: Path) -> list[Sent]:
    """What was sent, each request once, as the journal on disk has it."""
    requests: dict[int, Sent] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row.pop("event")
        requests[row["number"]] = Sent(**row)
    return [requests[number] for number in sorted(requests)]


def digest_of(answer: dict[str, Any]) -> str:
    """The digest of what an answer says."""
    told = json.dumps([answer[name] for name in ANSWER], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def picture(number: int) -> bytes:
    """A BMP of noise, another one for each number."""
    from PIL import Image

    noise = random.Random(number).randbytes(SIDE * SIDE * 3)
    file = BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(file, "BMP")
    return file.getvalue()


@dataclass
class Client:
    """Sends requests to `url` and writes down what became of each."""

    url: str
    journal: Journal
    seed: int
    sent: list[Sent] = field(default_factory=list)

    async def measure_capacity(self, seconds: float, clients: int = 16) -> float:
        """Answers a second when each of `clients` sends as soon as it got its answer."""
        ended = time.monotonic() + seconds
        done = 0

        async def one(session: aiohttp.ClientSession, which: int) -> None:
            nonlocal done
            turn = 0
            while time.monotonic() < ended:
                turn += 1
                body = _form(picture(-(which * 1_000_000 + turn)))
                async with session.post(f"{self.url}/predict", data=body, headers=_TYPE) as answer:
                    await answer.read()
                    done += answer.status == 200

        async with _session() as session:
            await asyncio.gather(*(one(session, which) for which in range(clients)))
        return done / seconds

    async def run(self, rate: float, seconds: float, is_over: Callable[[], bool]) -> None:
        """Send `rate` requests a second on average (a Poisson process) for `seconds` or longer.

        A slow machine restarts the server slowly: the load goes on until `is_over`.
        """
        rng = random.Random(self.seed)
        due, end = time.time(), time.time() + seconds
        waiting: set[asyncio.Task[None]] = set()
        async with _session() as session:
            while (due := due + rng.expovariate(rate)) < end or not is_over():
                await asyncio.sleep(max(due - time.time(), 0))
                request = self._next(rng, due)
                self.sent.append(request)
                task = asyncio.create_task(self._send(session, request))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            await asyncio.gather(*waiting)

    def _next(self, rng: random.Random, due: float) -> Sent:
        number = len(self.sent)
        kind = rng.choices(list(SHARES), weights=list(SHARES.values()))[0]
        if kind == RETRY:
            earlier = self.sent[rng.randrange(number)] if number else None
            if earlier and earlier.kind in (GOOD, RETRY) and earlier.due < due - LATER:
                return Sent(number, RETRY, earlier.request_id, earlier.image, due)
            kind = GOOD
        return Sent(number, kind, f"load-{self.seed}-{number}", number, due)

    async def _send(self, session: aiohttp.ClientSession, request: Sent) -> None:
        self.journal.note("sent", request)
        try:
            request.status, request.digest, request.note = await self._answer(session, request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            request.note = type(error).__name__
        request.ended = time.time()
        self.journal.note("ended", request)

    async def _answer(
        self, session: aiohttp.ClientSession, request: Sent
    ) -> tuple[int, str | None, str]:
        headers = _TYPE | {"X-Request-ID": request.request_id}
        body: Any = _form(b"\x89PNG\r\n\x1a\nno image" if request.kind == BAD else b"")
        if request.kind in (GOOD, RETRY):
            body = _form(picture(request.image))
        if request.kind == OVERSIZE:
            body = _endless()
            headers |= {"Content-Length": str(OVERSIZE_BYTES)}
        async with session.post(f"{self.url}/predict", data=body, headers=headers) as answer:
            text = await answer.text()
        if answer.status != 200:
            return answer.status, None, text[:200]
        [prediction] = json.loads(text)["predictions"]
        return 200, digest_of(prediction), prediction["model"]


async def _endless() -> AsyncIterator[bytes]:
    """A body that is refused for its declared length, long before it has ended."""
    for _ in range(OVERSIZE_BYTES // 2**16):
        yield bytes(2**16)
        await asyncio.sleep(0.2)


_TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def _form(image: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT),
    )
