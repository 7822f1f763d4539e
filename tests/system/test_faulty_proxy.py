"""The proxy that spoils replies does to a request what it was told, and nothing else."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

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
