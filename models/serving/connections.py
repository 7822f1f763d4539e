"""HTTP connections: headers arrive in time, and what is no HTTP is refused with a reason.

uvicorn bounds the size of a request's headers (16 KiB) but not the time that they take, and
`bentoml serve` passes it no options. So this protocol is registered as the one that uvicorn takes
where none is named. Requests for predictions in their ordinary form take a shorter way: `direct`.
"""

import asyncio
import sys
from typing import Any, ClassVar, cast

import h11
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from core.http_access import HEADERS, App
from models.serving.bodies import COMPLETE
from models.serving.direct import PATH, DirectCycle, Head, head_of
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
    predict: ClassVar[App | None] = None  # what answers requests for predictions directly
    _headers_due: asyncio.TimerHandle | None = None
    _overhead = 0
    _direct: DirectCycle | None = None  # the request that takes the short way now
    _behind = b""  # it, of the next one

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
        if self._direct is not None:
            self._unset_keepalive_if_required()
            self._go_on(self._direct, received)
            return
        if self._is_idle and (head := head_of(received)):
            self._answer_directly(head, received)
            return
        request, size = self.cycle, len(self.cycle.body) if self.cycle else 0
        super().data_received(received)
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._end_wait()
        elif self._headers_due is None:
            self._await_headers()
        if self.cycle and (b"transfer-encoding", b"chunked") in self.headers:
            self._check_chunks(received, size, is_new=self.cycle is not request)

    @property
    def _is_idle(self) -> bool:
        """Whether the next byte begins a request that may take the short way."""
        return (
            type(self).predict is not None
            and self.conn.our_state is h11.IDLE
            and self.conn.their_state is h11.IDLE
            and not self.conn.trailing_data[0]
            and not self.root_path
            and self.limit_concurrency is None
            and not self.transport.is_closing()
        )

    def _answer_directly(self, head: Head, received: bytes) -> None:
        self._unset_keepalive_if_required()
        self._end_wait()
        self.headers = head.headers
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "method": "POST",
            "root_path": "",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": head.headers,
            "state": self.app_state.copy(),
        }
        cycle = DirectCycle(
            self.scope, self.conn, self.transport, self.flow, self.logger, self.access_logger,
            self.access_log, self.server_state.default_headers, asyncio.Event(), self._answered,
        )  # fmt: skip
        self.cycle = self._direct = cycle
        self._put_behind(cycle.begin(head, received))
        cast(dict[str, Any], cycle.scope)[COMPLETE] = not cycle.missing
        task = self.loop.create_task(cycle.run_asgi(type(self).predict))  # type: ignore[arg-type]
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _go_on(self, cycle: DirectCycle, received: bytes) -> None:
        self._put_behind(cycle.take(received))
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if cycle.response_complete and not cycle.missing:
            self._end_direct()

    def _put_behind(self, received: bytes) -> None:
        """Keep what a client sends before it has its answer; it may not send much of it."""
        if received:
            self._behind += received
            self.flow.pause_reading()

    def _answered(self) -> None:
        """Wait for the next request; the rest of one that was refused is passed over."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._direct is None:
            return
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self.flow.resume_reading()
        if not self._direct.missing:
            self._end_direct()

    def _end_direct(self) -> None:
        self._direct = None
        if self._behind:
            received, self._behind = self._behind, b""
            self.data_received(received)

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
