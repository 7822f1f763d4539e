"""A client in a process of its own: sends prepared requests over open connections, and times them.

    python -m benchmarks.servers.client SPECIFICATION.json

It writes HTTP itself: a client library would take as much of the machine as a server.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LENGTH = b"content-length:"


@dataclass(frozen=True)
class Load:
    """What a client does."""

    host: str
    port: int
    folder: str  # whose files are the bodies of the requests, in the order of their names
    headers: str  # of each request, beside Host and Content-Length
    clients: int
    seconds: float | None = None  # None: each body once
    keep: bool = False  # the answers


@dataclass(frozen=True)
class Result:
    """What came of it: requests, seconds, sorted milliseconds, failures and perhaps answers."""

    done: int
    seconds: float
    latencies: list[float]
    failed: list[str]
    answers: list[str]


class Connection:
    """One connection that stays open from answer to answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        at = lowered.find(LENGTH)
        if at < 0:
            raise ValueError(f"an answer without a length: {head[:200]!r}")
        size = int(lowered[at + len(LENGTH) : lowered.index(b"\r\n", at)])
        return int(head[9:12]), await self._reader.readexactly(size)


async def run(load: Load) -> Result:
    """Send until the time is over, each client its next request when it has its answer."""
    bodies = [path.read_bytes() for path in sorted(Path(load.folder).iterdir())]
    head = f"POST /predict HTTP/1.1\r\nHost: {load.host}\r\n{load.headers}"
    requests = [f"{head}Content-Length: {len(one)}\r\n\r\n".encode() + one for one in bodies]
    latencies: list[float] = []
    failed: list[str] = []
    answers: dict[int, str] = {}
    following = iter(range(10**9))
    began = time.perf_counter()

    def is_over(number: int) -> bool:
        if load.seconds is None:
            return number >= len(requests)
        return time.perf_counter() - began > load.seconds

    async def client() -> None:
        connection = Connection(*await asyncio.open_connection(load.host, load.port))
        while not is_over(number := next(following)):
            sent = time.perf_counter()
            status, body = await connection.ask(requests[number % len(requests)])
            latencies.append(1000 * (time.perf_counter() - sent))
            if status != 200 or b"label" not in body:
                failed.append(f"{status} {body[:200]!r}")
            if load.keep:
                answers[number] = body.decode()

    await asyncio.gather(*(client() for _ in range(load.clients)))
    seconds = time.perf_counter() - began
    kept = [answers[number] for number in sorted(answers)]
    return Result(len(latencies), seconds, sorted(latencies), failed[:3], kept)


if __name__ == "__main__":
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(asdict(asyncio.run(run(Load(**specification))))))
