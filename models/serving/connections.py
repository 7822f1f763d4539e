"""HTTP connections: headers arrive in time, and what is no HTTP is refused with a reason.

uvicorn bounds the size of a request's headers (16 KiB) but not the time that they take, and
`bentoml serve` passes it no options. So this protocol is registered as the one that uvicorn takes
where none is named.
"""

import asyncio
import sys
from typing import ClassVar

import h11
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from core.http_access import HEADERS
from models.serving.requests import RequestError

HEADER_SECONDS = 10.0  # from connecting, or from the first byte of a further request
CONNECTIONS = 1000  # of one worker; a process may often have 1,024 files open
OVERHEAD = 2**16  # bytes of headers and chunk sizes, from which on they must be a quarter of a body


def register() -> None:
    """Make uvicorn use `Connection`; before it loads its configuration."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"


class Connection(H11Protocol):
    """One connection; where there are too many, those without a request end first."""

    header_seconds: ClassVar[float] = HEADER_SECONDS
    most: ClassVar[int] = CONNECTIONS
    _without_request: ClassVar[dict["Connection", None]] = {}  # oldest first
    _headers_due: asyncio.TimerHandle | None = None
    _overhead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_headers()
        if len(self.connections) > self.most:
            next(iter(self._without_request)).refuse(
                RequestError(503, "TOO_MANY_CONNECTIONS", f"{self.most:,} are the limit")
            )

    def data_received(self, received: bytes) -> None:
        """Take the bytes; headers that begin must be complete in time."""
        request, size = self.cycle, len(self.cycle.body) if self.cycle else 0
        super().data_received(received)
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._end_wait()
        elif self._headers_due is None:
            self._await_headers()
        if self.cycle and (b"transfer-encoding", b"chunked") in self.headers:
            self._check_chunks(received, size, is_new=self.cycle is not request)

    def _check_chunks(self, received: bytes, size: int, *, is_new: bool) -> None:
        """Refuse a body in chunks of a few bytes: parsing it would keep the service busy."""
        gained = len(self.cycle.body) - (0 if is_new else size)
        self._overhead = (0 if is_new else self._overhead) + len(received) - gained - gained // 4
        if self._overhead > OVERHEAD:
            detail = "the body comes in chunks of a few bytes; send it with a Content-Length"
            self.refuse(RequestError(400, "SMALL_CHUNKS", detail))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_wait()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP with the cause that the parser names."""
        error = sys.exc_info()[1]
        status = int(getattr(error, "error_status_hint", 400))
        self.refuse(RequestError(status, "BAD_HTTP", str(error or msg)))

    def refuse(self, problem: RequestError) -> None:
        """Answer with the refusal, if the answer did not begin yet, and close."""
        self._end_wait()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = problem.response({"Connection": "close"})
            headers = [*response.raw_headers, *HEADERS]
            for event in (
                h11.Response(
                    status_code=problem.status,
                    headers=headers,
                    reason=STATUS_PHRASES[problem.status],
                ),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_headers(self) -> None:
        self._without_request[self] = None
        self._headers_due = self.loop.call_later(self.header_seconds, self._too_slow)

    def _end_wait(self) -> None:
        self._without_request.pop(self, None)
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _too_slow(self) -> None:
        if self.conn.trailing_data[0]:
            detail = f"the headers were not complete in {self.header_seconds:g} seconds"
            self.refuse(RequestError(408, "TOO_SLOW", detail))
        else:  # not a byte came: there is nothing to answer
            self._end_wait()
            self.transport.close()
