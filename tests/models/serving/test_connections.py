"""Connections of a real uvicorn: headers in time, few without a request, and refusals by name."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn.config import HTTP_PROTOCOLS

from core.http_access import Message, Receive, Send
from models.serving import connections
from models.serving.bodies import CompleteBodies, Scope
from models.serving.connections import Connection

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    body = b"%d bytes" % len(message["body"])
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server with the registered protocol, short deadlines, and few connections."""
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", "h11")
    monkeypatch.setattr(Connection, "header_seconds", 0.3)
    monkeypatch.setattr(Connection, "most", 3)
    connections.register()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(CompleteBodies(app), log_config=None, lifespan="off")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def opened(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> tuple[int, str]:
    """Status and reason of the answer after which the server closed the connection."""
    content = b"".join(iter(lambda: connection.recv(2**16), b""))
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"x-content-type-options: nosniff" in head
    return int(head.split()[1]), str(json.loads(body)["error"]["reason"])


def good_answer(connection: socket.socket) -> bytes:
    """The answer, after which the connection stays open."""
    content = b""
    while not content.endswith(b" bytes"):
        part = connection.recv(2**16)
        assert part, content
        content += part
    return content


def test_headers_that_do_not_come_are_refused_and_silence_is_closed(port: int) -> None:
    with opened(port, b"GET / HTTP/1.1\r\nHost") as slow, opened(port) as silent:
        assert answer(slow) == (408, "TOO_SLOW")
        assert silent.recv(2**16) == b""


def test_headers_of_a_further_request_must_come_in_time_too(port: int) -> None:
    with opened(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        assert good_answer(connection).endswith(b"0 bytes")
        connection.sendall(b"GET / HT")
        assert answer(connection) == (408, "TOO_SLOW")


def test_of_too_many_connections_the_oldest_without_a_request_ends(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "header_seconds", 60.0)
    idle = [opened(port) for _ in range(3)]
    with opened(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none") as good:
        assert answer(idle[0]) == (503, "TOO_MANY_CONNECTIONS")
        assert good_answer(good).endswith(b"3 bytes")
    for connection in idle:
        connection.close()


def test_what_is_no_http_is_refused_with_the_cause(port: int) -> None:
    for sent, status in (
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
    ):
        with opened(port, sent) as connection:
            assert answer(connection) == (status, "BAD_HTTP")


def test_a_body_in_tiny_chunks_is_refused_and_one_in_usual_chunks_is_taken(port: int) -> None:
    with opened(port, CHUNKED) as connection:
        connection.sendall(b"1\r\na\r\n" * 13_700)
        connection.sendall(b"1\r\na\r\n" * 200)
        assert answer(connection) == (400, "SMALL_CHUNKS")
    with opened(port, CHUNKED) as connection:
        for _ in range(100):
            connection.sendall(b"800\r\n" + b"a" * 2_048 + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert good_answer(connection).endswith(b"204800 bytes")
