"""Requests in their ordinary form are read as h11 reads them, and answered alike."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
import uvicorn
from uvicorn.config import HTTP_PROTOCOLS

from core.http_access import Message, Receive, Send
from models.serving import connections
from models.serving.bodies import CompleteBodies, Limits, Scope
from models.serving.connections import Connection
from models.serving.direct import head_of
from tests.counted_work import lines_run

ORDINARY = b"POST /predict HTTP/1.1\r\nHost: a:3000\r\nContent-Length: 3\r\n\r\none"


def request(
    body: bytes = b"one", /, *, line: Any = b"POST /predict HTTP/1.1", **headers: str
) -> bytes:
    fields = {"Host": "a:3000", "Content-Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in fields.items()]
    return b"\r\n".join([line, *lines, b"", body])


def by_h11(received: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body as h11 reads them."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(received)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, event.http_version) == (b"POST", b"/predict", b"1.1")
    body = b""
    while isinstance(part := reader.next_event(), h11.Data):
        body += part.data
    assert isinstance(part, h11.EndOfMessage) or part is h11.NEED_DATA
    return [(name.lower(), value) for name, value in event.headers], body


@pytest.mark.parametrize(
    "received",
    [
        ORDINARY,
        request(),
        request(b""),
        request(Content_Type="multipart/form-data; boundary=x", X_Request_ID="a-1"),
        request(Connection="Keep-Alive", Accept="*/*", Accept_Encoding="gzip, deflate"),
        request(User_Agent="  python-httpx/0.28  ", Authorization="Bearer abc:def"),
        request(Accept=""),
    ],
)
def test_an_ordinary_head_is_read_as_h11_reads_it(received: bytes) -> None:
    head = head_of(received)
    assert head is not None
    headers, body = by_h11(received)
    assert head.headers == headers
    assert received[head.begin :][: head.length] == body == b"one"[: head.length]


@pytest.mark.parametrize(
    "received",
    [
        request(line=b"GET /predict HTTP/1.1"),
        request(line=b"POST /predict?a=b HTTP/1.1"),
        request(line=b"POST /predict/ HTTP/1.1"),
        request(line=b"POST /predict HTTP/1.0"),
        request(line=b"POST  /predict HTTP/1.1"),
        request(Transfer_Encoding="chunked"),
        request(Expect="100-continue"),
        request(Connection="close"),
        request(Connection="Upgrade"),
        request(Upgrade="websocket"),
        request(X_Forwarded_For="1.2.3.4"),
        request(Content_Encoding="gzip"),
        request(Unknown="1"),
        request(**{"Content-Length": "+3"}),
        request(**{"Content-Length": "3, 3"}),
        request(**{"Content-Length": "99999999999"}),
        request(**{"content-length": "3"}),
        ORDINARY.replace(b"Content-Length: 3\r\n", b""),
        ORDINARY.replace(b"Host: a:3000\r\n", b""),
        ORDINARY.replace(b"Host:", b"Host :"),
        ORDINARY.replace(b"\r\n", b"\n"),
        ORDINARY.replace(b"a:3000", b"a\r\n 3000"),
        ORDINARY.replace(b"a:3000", b"a\x003000"),
        ORDINARY.replace(b"a:3000", b"a\xe93000"),
        ORDINARY.replace(b"a:3000", b"a\t3000"),
        ORDINARY[:-7],
        b"\r\n" + ORDINARY,
        request(Accept="a" * 4_001),
        b"",
    ],
)
def test_any_other_head_is_left_to_h11(received: bytes) -> None:
    assert head_of(received) is None


@pytest.mark.parametrize("unit", [b"Host: a\r\n", b"a", b"a:", b"Accept: \r\n", b" ", b"\r\n"])
def test_a_head_is_read_in_bounded_work(unit: bytes) -> None:
    begin = b"POST /predict HTTP/1.1\r\n"
    assert lines_run(lambda: head_of(begin + unit * 200_000))[1] < 1_000


@dataclass
class Answers:
    """An application that answers with what came, or as a test says."""

    bodies: list[bytes] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    start: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        self.bodies.append(message["body"])
        while not self.may_answer.is_set():
            await asyncio.sleep(0.001)
        direct = b"%d" % ("hone.complete" in scope)
        body = json.dumps([message["body"].decode(), scope["method"], scope["path"]]).encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"x-direct", direct)]
        await send({"type": "http.response.start", "status": 200, "headers": headers, **self.start})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Started:
    """A server with the protocol, and its application."""

    answers: Answers
    port: int
    stop: Callable[[], None]

    def opened(self, sent: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(sent)
        return connection


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    answers = Answers()
    answers.may_answer.set()
    app = CompleteBodies(answers, Limits(body_bytes=10**6, grace=0.3, bytes_per_second=10**6))
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", "h11")
    monkeypatch.setattr(Connection, "predict", app)
    connections.register()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join()

    yield Started(answers, listening.getsockname()[1], stop)
    answers.may_answer.set()
    stop()


def read(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    """Headers and body of the next answer."""
    file = connection.makefile("rb", buffering=0)
    assert file.readline().startswith(b"HTTP/1.1 ")
    headers = {}
    while (line := file.readline().decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name] = value
    body = b""
    while len(body) < int(headers["content-length"]):
        body += file.read(int(headers["content-length"]) - len(body))
    return headers, body


def test_requests_on_one_connection_go_the_short_and_the_long_way_in_turn(started: Started) -> None:
    with started.opened(b"") as connection:
        for number in range(6):
            body = b"%d" % number * 5
            more = {"X_Forwarded_For": "1.2.3.4"} if number % 2 else {}
            connection.sendall(request(body, **more))
            headers, answer = read(connection)
            assert json.loads(answer) == [body.decode(), "POST", "/predict"]
            assert headers["x-direct"] == str(1 - number % 2)
            assert set(headers) == {"date", "server", "content-length", "x-direct"}


def test_a_body_may_come_in_parts_and_requests_before_their_answers(started: Started) -> None:
    started.answers.may_answer.clear()
    large = b"a" * 300_000
    with started.opened(request(large)[:200]) as connection:
        connection.sendall(request(large)[200:-7])
        connection.sendall(b"a" * 7 + request(b"two") + request(b"three", Accept="x", Expect=""))
        connection.sendall(request(b"four")[:20])
        connection.sendall(request(b"four")[20:])
        started.answers.may_answer.set()
        bodies = [json.loads(read(connection)[1])[0].encode() for _ in range(4)]
    assert bodies == [large, b"two", b"three", b"four"]


def test_a_refused_body_is_passed_over_and_a_slow_one_refused(started: Started) -> None:
    with started.opened(request(b"", **{"Content-Length": "2000000"})) as connection:
        headers, answer = read(connection)
        assert json.loads(answer)["error"]["reason"] == "BODY_TOO_LARGE"
        assert headers["connection"] == "close"
    with started.opened(request(b"", **{"Content-Length": "1000"})) as connection:
        assert json.loads(read(connection)[1])["error"]["reason"] == "TOO_SLOW"


def test_an_answer_without_a_length_gets_one_and_a_line_break_fails(started: Started) -> None:
    started.answers.start = {"headers": [(b"x-a", b"b")]}
    with started.opened(request()) as connection:
        headers, answer = read(connection)
        assert headers["x-a"] == "b" and json.loads(answer)[0] == "one"
        started.answers.start = {"headers": [(b"x-a", b"b\r\nx-c: d")]}
        connection.sendall(request())
        assert b"x-c" not in connection.recv(2**16)


def test_who_hangs_up_ends_its_request_and_no_other(started: Started) -> None:
    started.answers.may_answer.clear()
    started.opened(request(b"gone")).close()
    with started.opened(request(b"here")) as connection:
        started.answers.may_answer.set()
        assert json.loads(read(connection)[1])[0] == "here"


def test_a_server_that_ends_answers_first_and_closes(started: Started) -> None:
    started.answers.may_answer.clear()
    with started.opened(request(b"last")) as connection:
        while not started.answers.bodies:
            pass
        ending = threading.Thread(target=started.stop)
        ending.start()
        started.answers.may_answer.set()
        assert json.loads(read(connection)[1])[0] == "last"
        assert connection.recv(2**16) == b""
        ending.join()
