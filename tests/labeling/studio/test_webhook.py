"""The receiver lets in who knows the secret, answers first, and wakes for the last call, too."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Event

import httpx
import pytest
from starlette.testclient import TestClient

from core.http_access import RateLimit
from labeling.studio import webhook
from labeling.studio.webhook import EVENT_BYTES, HEADER, PATH, receiver

SECRET = "a-secret-of-ours"
CALL = {"action": "ANNOTATION_CREATED"}


@contextmanager
def listening(wake: Callable[[], None], pause: float = 0.0) -> Iterator[TestClient]:
    with TestClient(receiver(SECRET, wake, pause=pause), headers={HEADER: SECRET}) as client:
        yield client


class Sleeper:
    """Somebody who is woken, and gets up when told to."""

    def __init__(self) -> None:
        self.woken: Queue[int] = Queue()
        self.may_rise = Event()
        self.times = 0

    def wake(self) -> None:
        self.times += 1
        self.woken.put(self.times)
        assert self.may_rise.wait(60)


def test_a_call_with_the_secret_wakes_and_is_answered_before_anybody_is_up():
    sleeper = Sleeper()
    with listening(sleeper.wake) as client:
        assert client.post(PATH, json=CALL).status_code == 204
        assert sleeper.woken.get(timeout=60) == 1
        sleeper.may_rise.set()
    assert sleeper.times == 1


@pytest.mark.parametrize(
    "headers", [{HEADER: "wrong"}, {HEADER: ""}, {HEADER: SECRET + "x"}, {HEADER: "\u00fc"}, {}]
)
def test_without_the_secret_nobody_is_woken_and_nothing_is_told(headers):
    woken: list[int] = []
    with TestClient(receiver(SECRET, lambda: woken.append(1))) as client:
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        reply = client.post(PATH, json=CALL, headers=encoded)
    assert (reply.status_code, reply.content, woken) == (403, b"", [])


def test_a_hundred_calls_wake_twice_and_never_not_at_all_for_the_last():
    sleeper = Sleeper()
    with listening(sleeper.wake) as client:
        client.post(PATH, json=CALL)
        assert sleeper.woken.get(timeout=60) == 1
        for _ in range(99):
            assert client.post(PATH, json=CALL).status_code == 204
        sleeper.may_rise.set()
        assert sleeper.woken.get(timeout=60) == 2
    assert sleeper.times == 2


def test_a_call_during_the_pause_is_not_lost_when_the_receiver_ends():
    sleeper = Sleeper()
    sleeper.may_rise.set()
    with listening(sleeper.wake, pause=3600) as client:
        client.post(PATH, json=CALL)
        assert sleeper.woken.get(timeout=60) == 1
        client.post(PATH, json=CALL)
    assert sleeper.times == 2


def test_who_could_not_be_woken_is_woken_again(caplog):
    times = Queue[int]()

    def wake() -> None:
        times.put(1)
        if times.qsize() < 3:
            raise ConnectionError("nobody is there")

    with listening(wake) as client:
        client.post(PATH, json=CALL)
        asyncio.run(until(lambda: times.qsize() == 3))
    assert times.qsize() == 3
    assert caplog.messages == ["nobody was woken, another try follows: nobody is there"] * 2


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not there():
            await asyncio.sleep(0)


def test_a_body_without_an_end_is_refused():
    woken: list[int] = []
    with listening(lambda: woken.append(1)) as client:
        assert client.post(PATH, content=bytes(EVENT_BYTES + 1)).status_code == 413
        assert client.post(PATH, content=b"\xff not JSON").status_code == 204
    assert woken == [1]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", PATH, 405), ("POST", "/", 404)])
def test_there_is_nothing_else_to_see(method, path, status):
    with listening(lambda: None) as client:
        reply: httpx.Response = client.request(method, path)
    assert reply.status_code == status


def test_more_calls_than_annotators_make_are_refused_and_still_wake(monkeypatch):
    monkeypatch.setattr(webhook, "RateLimit", lambda: RateLimit(0.001, burst=1))
    woken = Queue[int]()
    with listening(lambda: woken.put(1)) as client:
        assert client.post(PATH, json=CALL).status_code == 204
        assert woken.get(timeout=60) == 1
        assert client.post(PATH, content=bytes(EVENT_BYTES + 1)).status_code == 429
        assert woken.get(timeout=60) == 1


def test_every_answer_has_the_security_headers():
    with listening(lambda: None) as client:
        for reply in (
            client.post(PATH, json=CALL),
            client.get("/"),
            client.post(PATH, headers={HEADER: ""}),
        ):
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert reply.headers["Cache-Control"] == "no-store"
