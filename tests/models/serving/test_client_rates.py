"""A client that sends too many requests waits; the others do not."""

import asyncio
import json

import pytest

from core.http_access import Message, Receive, Send
from models.serving import client_rates
from models.serving.bodies import Scope
from models.serving.client_rates import ClientRates


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


class Clock:
    """The time that the buckets see."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client_rates, "time", clock)
    return clock


def ask(rates: ClientRates, address: str = "10.0.0.1") -> tuple[int, str, str]:
    """Status, seconds to wait and reason of one answer."""
    messages: list[Message] = []

    async def take(message: Message) -> None:
        messages.append(message)

    scope = {"type": "http", "client": (address, 1), "headers": []}
    asyncio.run(rates(scope, answer, take))  # type: ignore[arg-type]
    headers = dict(messages[0]["headers"])
    body = json.loads(messages[1]["body"])["error"]["reason"] if len(messages) > 1 else ""
    return messages[0]["status"], headers.get(b"retry-after", b"").decode(), body


def test_a_minute_of_requests_may_come_at_once_and_then_one_at_a_time(clock: Clock) -> None:
    rates = ClientRates(answer, 30)
    assert [ask(rates)[0] for _ in range(30)] == [200] * 30
    assert ask(rates) == (429, "2", "RATE_LIMITED")
    assert ask(rates, "10.0.0.2")[0] == 200
    clock.now += 2.0
    assert [ask(rates)[0] for _ in range(2)] == [200, 429]
    clock.now += 1_000.0
    assert [ask(rates)[0] for _ in range(31)] == [200] * 30 + [429]


def test_without_a_limit_every_request_is_answered() -> None:
    rates = ClientRates(answer, None)
    assert [ask(rates)[0] for _ in range(100)] == [200] * 100


def test_a_bounded_number_of_addresses_is_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_rates, "ADDRESSES", 2)
    rates = ClientRates(answer, 1)
    assert [ask(rates, address)[0] for address in "abc"] == [200] * 3
    assert [ask(rates, address)[0] for address in "cb"] == [429, 429]
    assert ask(rates, "a")[0] == 200
