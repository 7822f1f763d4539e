"""The proxy that spoils replies does to a request what it was told, and nothing else."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import urlsplit

import httpx
import pytest

from tests.system.faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.system


@pytest.fixture
def echo() -> Iterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(201)
            self.send_header("X-Path", self.path)
            self.end_headers()
            self.wfile.write(got[-1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_a_request_without_a_fault_comes_back_as_the_server_answered(echo):
    url, got = echo
    with faulty_proxy(url, lambda *_: Fault.NONE) as proxy:
        reply = httpx.post(f"{proxy}/a?b=c", content=b"body")
    assert (reply.status_code, reply.headers["X-Path"], reply.content) == (201, "/a?b=c", b"body")
    assert got == [b"body"]


@pytest.mark.parametrize(("fault", "seen"), [(Fault.CUT, [b"body"]), (Fault.LOSE, [])])
def test_a_broken_connection_tells_the_client_nothing(echo, fault, seen):
    url, got = echo
    with faulty_proxy(url, lambda *_: fault) as proxy, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(proxy, content=b"body")
    assert got == seen


def test_a_failing_gateway_hides_what_the_server_did(echo):
    url, got = echo
    with faulty_proxy(url, lambda *_: Fault.FAIL) as proxy:
        reply = httpx.post(proxy, content=b"body")
    assert (reply.status_code, got) == (502, [b"body"])


@pytest.mark.parametrize("fault", [Fault.DELAY, Fault.LATE])
def test_a_client_that_gives_up_is_waited_for_and_the_server_gets_the_request(echo, fault):
    url, got = echo
    with faulty_proxy(url, lambda *_: fault) as proxy:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(proxy, content=b"body", timeout=0.2)
        assert httpx.post(url, content=b"next").status_code == 201
    assert sorted(got) == [b"body", b"next"]  # the proxy ends when every request has


def test_a_late_request_is_kept_back_while_the_client_waits(echo):
    url, got = echo
    chosen = Event()

    def late(*_: str) -> Fault:
        chosen.set()
        return Fault.LATE

    with (
        faulty_proxy(url, late) as proxy,
        socket.create_connection(("127.0.0.1", urlsplit(proxy).port)) as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
        chosen.wait(60)
        assert got == []
    assert got == [b"body"]


def test_a_request_held_back_holds_no_other_back(echo):
    url, got = echo
    release = Event()
    held: list[int] = []

    def hold_the_first(*_: str) -> Fault:
        held.append(len(held))
        if len(held) == 1:
            release.wait(60)
        return Fault.NONE

    with faulty_proxy(url, hold_the_first) as proxy:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(proxy, content=b"first", timeout=0.2)
        assert httpx.post(proxy, content=b"second").status_code == 201
        assert got == [b"second"]
        release.set()
    assert got == [b"second", b"first"]
