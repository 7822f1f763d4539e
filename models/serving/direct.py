"""Requests for predictions in the form that ordinary clients send, read without h11.

h11 reads and writes any HTTP, at a third of what such a request costs. A head is read here only if
it has one meaning: HTTP/1.1, known headers, each of them once, a length. All others are h11's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, RequestResponseCycle

PATH = "/predict"
_HEAD = re.compile(  # each byte is looked at once: no part can begin where another one could go on
    rb"POST /predict HTTP/1\.1\r\n((?:[A-Za-z-]{1,40}:[ -~]{0,4000}\r\n){1,20})\r\n"
)
_HEADERS = frozenset(
    b"accept accept-encoding accept-language authorization connection content-length content-type "
    b"host origin user-agent x-callback-url x-client-key x-request-id x-source".split()
)
_LENGTH = re.compile(rb"[0-9]{1,10}")
_CLOSE = b"connection: close"


@dataclass(frozen=True)
class Head:
    """The head of a request: headers by their lower names in order, and where its body lies."""

    headers: list[tuple[bytes, bytes]]
    begin: int  # of the body
    length: int


def head_of(received: bytes) -> Head | None:
    """The head that these bytes begin with; None of any but an ordinary one that is complete."""
    match = _HEAD.match(received)
    if match is None:
        return None
    headers = []
    for line in match[1].splitlines():
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" ")))
    fields = dict(headers)
    length = fields.get(b"content-length", b"")
    ordinary = (
        len(fields) == len(headers)
        and _HEADERS.issuperset(fields)
        and b"host" in fields
        and fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        and _LENGTH.fullmatch(length)
    )
    return Head(headers, match.end(), int(length)) if ordinary else None


class DirectCycle(RequestResponseCycle):
    """One request and its answer, which is written at once where it comes at once."""

    _start: Mapping[str, Any] | None = None  # of the answer, until its first part is there
    missing = 0  # bytes of the body

    def begin(self, head: Head, received: bytes) -> bytes:
        """Take what came of the body with the head; return what is behind it."""
        self.missing = head.length
        return self.take(received[head.begin :])

    def take(self, received: bytes) -> bytes:
        """Take a part of the body; return what is behind it, of the next request."""
        part = received[: self.missing]
        self.missing -= len(part)
        if not self.response_complete:  # else it was refused, and nobody reads on
            self.body = self.body + part if self.body else part  # type: ignore[assignment]
            self.more_body = self.missing > 0
            self.message_event.set()
        return received[len(part) :]

    async def send(self, message: Any) -> None:
        """Write the answer: its head with the first part of its body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        awaited = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != awaited or self.response_complete:
            raise RuntimeError(f"{message['type']} where {awaited} is to come, or nothing")
        if not self.response_started:
            self.response_started, self._start = True, message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            body = self._head(self._start, None if more else len(body)) + body
            self._start = None
        self.transport.write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _head(self, start: Mapping[str, Any], length: int | None) -> bytes:
        status = start["status"]
        lines = [b"HTTP/1.1 %d %b" % (status, STATUS_PHRASES[status])]
        lines += [b"%b: %b" % one for one in (*self.default_headers, *start.get("headers", ()))]
        if not any(line[:15].lower() == b"content-length:" for line in lines):
            lines.append(_CLOSE if length is None else b"content-length: %d" % length)
        if _CLOSE in lines:
            self.keep_alive = False
        head = b"\r\n".join([*lines, b"", b""])
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
            raise RuntimeError("a header of the answer has a line break in it")
        return head
