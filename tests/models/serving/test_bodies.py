"""Slow, large and many bodies: each becomes complete or is refused by name."""

import asyncio
import json
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.http_access import Message, Receive, Send
from models.serving import bodies
from models.serving.bodies import CompleteBodies, Limits, Scope

LIMITS = Limits(body_bytes=1_000, held_bytes=2_000, grace=0.2, places=1, seconds=0.3)
NEVER = 30.0  # seconds: a deadline that no test waits for


@dataclass
class Client:
    """A client on one connection: what it sends, and the answer that it gets."""

    gate: CompleteBodies
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    messages: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def send(self, content: bytes, *, ends: bool = False) -> None:
        """Send a part of the body."""
        self.messages.put_nowait({"type": "http.request", "body": content, "more_body": not ends})

    def hang_up(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def answered(self) -> "Client":
        """This client, once its request was answered."""
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {"type": "http", "method": self.method, "headers": raw, "path": "/"}
        await self.gate(scope, self.messages.get, self._take)
        return self

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answer_headers = {k.decode(): v.decode() for k, v in message["headers"]}
        self.body += message.get("body", b"")

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["error"]["reason"])


class Service:
    """An application that answers with the body's length, when it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        message = await receive()
        assert not message["more_body"]
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(message["body"])})
        self.ended.append("answered")


Scenario = Callable[[Service, Callable[..., Client]], Awaitable[None]]


def run(scenario: Scenario, limits: Limits = LIMITS) -> None:
    """Run a scenario with a service and a maker of its clients."""

    async def play() -> None:
        service = Service()
        gate = CompleteBodies(service, limits)
        await scenario(service, lambda **more: Client(gate, **more))
        assert (gate._held, gate._answering, len(gate._arriving)) == (0, 0, 0)

    asyncio.run(play())


def in_background(work: Coroutine[Any, Any, Client]) -> "asyncio.Task[Client]":
    return asyncio.get_running_loop().create_task(work)


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0)


def test_a_complete_body_is_handed_on_whole() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        service.may_answer.set()
        sender = client()
        for part in (b"one", b"", b"three"):
            sender.send(part)
        sender.send(b"!", ends=True)
        assert ((await sender.answered()).status, sender.body) == (200, b"9")

    run(scenario)


def test_bodies_on_their_way_occupy_no_place() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        service.may_answer.set()
        slow = [client() for _ in range(40)]
        waiting = [in_background(one.answered()) for one in slow]
        for one in slow:
            one.send(b"a")
        await asyncio.sleep(0)
        for _ in range(10):
            good = client()
            good.send(b"whole", ends=True)
            assert (await good.answered()).status == 200
        for one in slow:
            one.send(b"b", ends=True)
        assert [(await task).status for task in waiting] == [200] * 40

    run(scenario, Limits(places=1, grace=NEVER))


def test_a_body_below_the_minimum_rate_is_refused_and_its_connection_closed() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        slow = client()
        slow.send(b"a")
        task = in_background(slow.answered())
        while not slow.status:
            slow.send(b"a")
            await asyncio.sleep(0.01)
        slow.hang_up()
        await task
        assert (slow.status, slow.reason) == (408, "TOO_SLOW")
        assert slow.answer_headers["connection"] == "close"
        assert service.calls == 0

    run(scenario, Limits(grace=0.1, bytes_per_second=10_000))


def test_a_body_that_takes_too_long_is_refused_at_any_rate() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        slow = client()
        slow.send(b"a" * 900)
        task = in_background(slow.answered())
        await until(lambda: slow.status != 0)
        slow.hang_up()
        assert (await task).reason == "TOO_SLOW"

    run(scenario, Limits(grace=NEVER, body_seconds=0.1))


def test_a_body_over_the_limit_is_refused_with_or_without_a_declared_length() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        for length in ("1001", "9" * 5_000):
            declared = client(headers={"content-length": length})
            declared.hang_up()
            assert (await declared.answered()).status == 413
        counted = client()
        for _ in range(3):
            counted.send(b"a" * 500)
        counted.hang_up()
        assert ((await counted.answered()).status, counted.reason) == (413, "BODY_TOO_LARGE")
        assert "1,000 bytes" in counted.body.decode()
        assert service.calls == 0

    run(scenario)


def test_a_body_is_held_once_while_it_is_answered() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        sender = client()
        tracemalloc.start()
        for _ in range(4):
            sender.send(bytes(2**20))
        sender.send(b"", ends=True)
        task = in_background(sender.answered())
        await until(lambda: service.calls == 1)
        assert 4 * 2**20 < tracemalloc.get_traced_memory()[0] < 5 * 2**20
        tracemalloc.stop()
        assert sender.gate._held == 4 * 2**20
        service.may_answer.set()
        assert (await task).status == 200

    run(scenario, Limits(body_bytes=2**23, held_bytes=2**24, places=1, seconds=NEVER))


def test_the_slowest_body_goes_when_all_together_hold_too_much() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        service.may_answer.set()
        slow, quick = client(), client()
        slow.send(b"a" * 900)
        slow_task = in_background(slow.answered())
        await until(lambda: slow.messages.empty())
        await asyncio.sleep(0.05)
        tasks = []
        others = [client() for _ in range(2)]
        for one in others:
            one.send(b"b" * 600)
            tasks.append(in_background(one.answered()))
        await until(lambda: slow.status != 0)
        slow.hang_up()
        assert ((await slow_task).status, slow.reason) == (503, "NO_MEMORY")
        assert "2,000 bytes" in slow.body.decode()
        for one in others:
            one.send(b"", ends=True)
        quick.send(b"c", ends=True)
        assert [(await task).status for task in tasks] == [200, 200]
        assert (await quick.answered()).status == 200

    run(scenario, Limits(body_bytes=1_000, held_bytes=2_000, places=9))


def test_a_body_whose_time_ends_when_its_memory_is_needed_fails_no_other() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        service.may_answer.set()
        slow, other = client(), client()
        slow.send(b"a" * 300)
        slow_task = in_background(slow.answered())
        await until(slow.messages.empty)
        await asyncio.sleep(0.05)
        [body] = slow.gate._arriving
        other.send(b"b" * 600)
        other_task = in_background(other.answered())
        await until(other.messages.empty)
        body.deadline.reschedule(0)  # its time is over before the task learns of it
        other.send(b"b" * 300, ends=True)
        slow.hang_up()
        assert ((await other_task).status, other.body) == (200, b"900")
        assert ((await slow_task).status, slow.reason) == (503, "NO_MEMORY")

    run(scenario, Limits(body_bytes=1_000, held_bytes=1_000, grace=9, places=9))


def test_a_connection_that_ends_early_is_named() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        gone = client()
        gone.send(b"a")
        gone.hang_up()
        gone.hang_up()
        assert ((await gone.answered()).status, gone.reason) == (400, "CUT_OFF")

    run(scenario)


def test_a_request_without_a_place_is_refused_at_once_and_a_get_needs_none() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        first, second, health = client(), client(), client(method="GET")
        for one in (first, second, health):
            one.send(b"", ends=True)
        tasks = [in_background(first.answered()), in_background(health.answered())]
        await until(lambda: service.calls == 2)
        assert ((await second.answered()).status, second.reason) == (429, "BUSY")
        assert second.answer_headers["retry-after"] == "1"
        assert "connection" not in second.answer_headers
        service.may_answer.set()
        assert [(await task).status for task in tasks] == [200, 200]

    run(scenario)


def test_a_place_is_free_again_once_the_answer_begins() -> None:
    """Else a client that does not read its answer would keep it."""

    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        service.may_answer.set()
        stuck = client()
        stuck.send(b"one", ends=True)
        taken = asyncio.Event()

        async def never(message: Message) -> None:
            stuck.status = message.get("status", stuck.status)
            await taken.wait()

        stuck._take = never  # type: ignore[method-assign]
        task = in_background(stuck.answered())
        await until(lambda: stuck.status != 0)
        good = client()
        good.send(b"two", ends=True)
        assert (await good.answered()).status == 200
        await task  # ends without a whole answer: the server closes the connection
        assert stuck.body == b""

    run(scenario)


def test_a_request_that_takes_too_long_gets_504_and_is_cancelled() -> None:
    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        late = client()
        late.send(b"one", ends=True)
        assert ((await late.answered()).status, late.reason) == (504, "TIMED_OUT")
        assert service.ended == ["cancelled"]

    run(scenario)


def test_a_refused_client_that_goes_on_sending_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LINGER_SECONDS", 0.05)

    async def scenario(service: Service, client: Callable[..., Client]) -> None:
        endless = client(headers={"content-length": "5000"})
        assert (await endless.answered()).status == 413

    run(scenario)
