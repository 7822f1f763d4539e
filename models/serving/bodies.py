"""A request occupies a place in the service once its body is complete, and until its answer begins.

A client that sends slowly holds memory and a connection, both bounded, and delays nobody: its body
must arrive at a minimum rate, and when the bodies of all clients take too much memory together the
slowest one is refused.
"""

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from core.http_access import App, Message, Receive, Send
from models.serving.requests import RequestError, reason_of

BODY_BYTES = 32 * 2**20  # of one request, all of it in memory; a phone's photo has 2 to 8 MiB
HELD_BYTES = 256 * 2**20  # of all requests of one worker, complete or not
GRACE_SECONDS = 10.0  # after which a body must have come at the minimum rate
BYTES_PER_SECOND = 16 * 2**10
BODY_SECONDS = 120.0  # for a whole body; the largest one needs 2.2 Mbit/s
PLACES = 32  # requests that one worker answers at a time; one more gets 429
SECONDS = 60.0  # to answer a complete request; then its client gets 504
LINGER_SECONDS = 2.0  # in which a refused client may end sending and read why
COMPLETE = "hone.complete"  # in a scope: whether the body is here, and `receive` has all of it
DIGITS = 20  # of a content length; the rest only makes it larger

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What one worker takes: bytes, seconds, and requests at a time."""

    body_bytes: int = BODY_BYTES
    held_bytes: int = HELD_BYTES
    grace: float = GRACE_SECONDS
    bytes_per_second: float = BYTES_PER_SECOND
    body_seconds: float = BODY_SECONDS
    places: int = PLACES
    seconds: float = SECONDS


@dataclass(eq=False)
class _Body:
    """The body of one request on its way into the service."""

    began: float
    deadline: asyncio.Timeout
    content: bytearray = field(default_factory=bytearray)
    size: int = 0  # counted until the request is answered
    is_complete: bool = False
    refusal: RequestError | None = None  # decided by another request that needs the memory

    def handed_on(self) -> bytes:
        """The content, which is held once: the service makes its own copies of the images."""
        content, self.content = bytes(self.content), bytearray()
        return content


class CompleteBodies:
    """ASGI middleware: the application gets complete requests, a bounded number at a time."""

    def __init__(self, app: App, limits: Limits | None = None) -> None:
        self._app = app
        self._limits = limits or Limits()
        self._arriving: set[_Body] = set()
        self._held = 0  # bytes of all bodies
        self._answering = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it with a reason."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body = _Body(asyncio.get_running_loop().time(), asyncio.timeout(None))
        self._arriving.add(body)
        try:
            await self._read(body, scope, receive)
            await self._answer(body.handed_on(), scope, receive, send)
        except RequestError as problem:
            self._free(body)
            await _refuse(problem, body.is_complete, scope, receive, send)
        finally:
            self._free(body)

    async def _read(self, body: _Body, scope: Scope, receive: Receive) -> None:
        for name, value in scope["headers"]:
            declared = int(value[:DIGITS]) if name == b"content-length" and value.isdigit() else 0
            if declared > self._limits.body_bytes:
                raise self._too_large()
        try:
            async with body.deadline:
                while not body.is_complete and body.refusal is None:
                    if not scope.get(COMPLETE):  # else there is nothing to wait for
                        body.deadline.reschedule(self._due(body))
                    self._add(body, await receive())
        except TimeoutError:
            raise body.refusal or self._too_slow(body) from None
        if body.refusal:
            raise body.refusal
        self._arriving.remove(body)

    def _add(self, body: _Body, message: Message) -> None:
        if message["type"] == "http.disconnect":
            raise RequestError(400, "CUT_OFF", "the connection ended before the body did")
        part = message.get("body", b"")
        body.content += part
        body.size += len(part)
        self._held += len(part)
        body.is_complete = not message.get("more_body", False)
        if len(body.content) > self._limits.body_bytes:
            raise self._too_large()
        while self._held > self._limits.held_bytes and body.refusal is None:
            self._refuse_slowest()

    def _refuse_slowest(self) -> None:
        """Free the memory of the body that comes at the lowest rate of all that hold any."""
        now = asyncio.get_running_loop().time()
        slowest = min(
            (body for body in self._arriving if body.content),
            key=lambda body: len(body.content) / (now - body.began + 1e-3),
        )
        slowest.refusal = RequestError(
            503,
            "NO_MEMORY",
            f"the requests on their way hold {self._limits.held_bytes:,} bytes, the limit of this "
            "service, and this one came slowest; send fewer or smaller images, or later",
            retry_after=5,
        )
        if not slowest.deadline.expired():  # else its time is over at this very moment
            slowest.deadline.reschedule(now)
        self._free(slowest)

    def _free(self, body: _Body) -> None:
        self._arriving.discard(body)
        self._held -= body.size
        body.size, body.content = 0, bytearray()

    def _due(self, body: _Body) -> float:
        """When more of the body must have come."""
        limits = self._limits
        at_rate = limits.grace + len(body.content) / limits.bytes_per_second
        return body.began + min(at_rate, limits.body_seconds)

    def _too_slow(self, body: _Body) -> RequestError:
        limits = self._limits
        return RequestError(
            408,
            "TOO_SLOW",
            f"{len(body.content):,} bytes came in time; after {limits.grace:g} seconds a request "
            f"must come with {limits.bytes_per_second:,g} bytes a second, and be complete after "
            f"{limits.body_seconds:g}; send fewer or smaller images",
        )

    def _too_large(self) -> RequestError:
        detail = f"more than {self._limits.body_bytes:,} bytes in one request"
        return RequestError(413, "BODY_TOO_LARGE", f"{detail}; send fewer or smaller images")

    async def _answer(self, content: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from a place; the place is free again as soon as the answer begins."""
        limits = self._limits
        if self._answering >= limits.places:
            detail = f"{limits.places} requests are being answered; send this one again later"
            raise RequestError(429, "BUSY", detail, retry_after=1)
        self._answering += 1
        has_place = True

        async def leave_and_send(message: Message) -> None:
            nonlocal has_place
            self._answering -= has_place
            has_place = False
            await send(message)

        deadline = asyncio.timeout(limits.seconds)
        try:
            async with deadline:
                await self._app(scope, _replay(content, receive), leave_and_send)
        except TimeoutError:
            if not deadline.expired():
                raise
            if has_place:  # else the client does not take its answer: the server closes
                raise RequestError(
                    504,
                    "TIMED_OUT",
                    f"not answered in {limits.seconds:g} seconds; the work has ended and nothing "
                    "is recorded; send fewer or smaller images",
                ) from None
        finally:
            self._answering -= has_place


def _replay(content: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _refuse(
    problem: RequestError, is_complete: bool, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer with the refusal; a connection with a body still on it is closed afterwards."""
    if is_complete:
        await problem.response()(scope, receive, send)
        return
    response = problem.response({"Connection": "close"})
    reason_of(scope).append(problem.reason)
    headers = response.raw_headers
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):  # closing with bytes unread would take the answer away
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                continue
    await send({"type": "http.response.body", "body": b"", "more_body": False})
