"""`bentoml serve` under clients that are slow, hostile or many, and beside a second service."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import httpx
import psutil
import pytest
from sqlalchemy import Engine

from core.http_access import HEADERS, PAGE_POLICY
from core.workspace import Workspace
from models.serving.prediction_store import drain, window
from tasks.demo import servers
from tests.models.saved_models import make_workspace, png, put_in_service, save
from tests.system.test_service import REPOSITORY, Running, is_ready, send, status

pytestmark = pytest.mark.system
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Engine]:
    workspace, engine = make_workspace(tmp_path_factory.mktemp("attacked") / "workspace")
    put_in_service(engine, save(workspace, engine))
    return workspace, engine


@pytest.fixture(scope="module")
def running(
    place: tuple[Workspace, Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """`bentoml serve` of the repository, one worker."""
    environment = {"HONE_WORKSPACE": str(place[0].root)}
    with servers.bentoml(REPOSITORY, tmp_path_factory.mktemp("serve"), environment) as server:
        yield Running(server.url, *place)


def opened(running: Running) -> socket.socket:
    port = int(running.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer(connection: socket.socket) -> tuple[int, str]:
    """Status and reason of the answer, after which the server closed the connection."""
    content = b"".join(iter(lambda: connection.recv(2**16), b""))
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), str(json.loads(body)["error"]["reason"])


def headers(length: int) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: [::1]", f"Content-Type: {FORM}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_slow_bodies_and_slow_headers_delay_nobody_and_are_refused(running: Running) -> None:
    """More of them than there are places; each sends a byte now and then."""
    slow = [opened(running) for _ in range(60)]
    for number, connection in enumerate(slow):
        connection.sendall(headers(10_000) if number < 45 else b"POST /predict HTTP/1.1\r\nX: ")
    for number in range(15):
        for connection in slow:
            connection.sendall(b"a")
        assert send(running.url, png(number)).status_code == 200
    assert status(running.url)["model"]
    answers = [answer(connection) for connection in slow]  # ten seconds after they began
    assert set(answers) == {(408, "TOO_SLOW")}
    assert httpx.get(f"{running.url}/livez").status_code == 200


def large_png(side: int) -> bytes:
    """A picture of one colour: few bytes and much work."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + name + body + pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(side * (3 * side + 1)), 9))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


def test_a_request_of_large_images_delays_no_other(running: Running) -> None:
    large, small = large_png(8192), png()
    refused = send(running.url, *[large] * 3)  # known from the headers
    assert (refused.status_code, refused.json()["error"]["reason"]) == (413, "TOO_MANY_PIXELS")
    responses: list[httpx.Response] = []
    hostile = [
        threading.Thread(target=lambda: responses.append(send(running.url, large, large)))
        for _ in range(2)
    ]
    for thread in hostile:
        thread.start()
    meanwhile = 0
    while any(thread.is_alive() for thread in hostile):
        assert httpx.get(f"{running.url}/livez", timeout=60).status_code == 200
        assert status(running.url)["model"]
        assert send(running.url, small).status_code == 200
        meanwhile += 1
    assert [response.status_code for response in responses] == [200, 200]
    assert meanwhile > 10  # one after the other, it would be one or two


BROKEN = {  # what is sent, and the status and reason of the answer
    "nonsense": (b"nonsense\r\n\r\n", 400, "BAD_HTTP"),
    "binary": (bytes(range(256)) * 4, 400, "BAD_HTTP"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400, "BAD_HTTP"),
    "no-host": (b"GET /livez HTTP/1.1\r\n\r\n", 400, "BAD_HTTP"),
    "large-headers": (b"GET / HTTP/1.1\r\nHost: [::1]\r\nX: " + b"a" * 40_000, 431, "BAD_HTTP"),
    "many-headers": (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10_000, 431, "BAD_HTTP"),
    "two-lengths": (
        headers(3).replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nabcd"), 400, "BAD_HTTP",
    ),
    "negative-length": (headers(-1), 400, "BAD_HTTP"),
    "encoding": (
        b"POST /predict HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: gzip\r\n\r\n", 501,
        "BAD_HTTP",
    ),
    "chunk-size": (
        b"POST /predict HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400,
        "BAD_HTTP",
    ),
    "small-chunks": (
        b"POST /predict HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\na\r\n" * 30_000, 400, "SMALL_CHUNKS",
    ),
    "declared-length": (headers(2**40), 413, "BODY_TOO_LARGE"),
    "pipelined": (headers(5) + b"--x--" + b"rubbish\r\n\r\n", 400, "NO_IMAGE"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_request_is_refused_by_name(running: Running, name: str) -> None:
    sent, code, reason = BROKEN[name]
    with opened(running) as connection:
        try:
            connection.sendall(sent)
        except OSError:  # it was refused before all was sent
            assert code in (400, 431)
        content = b""
        while b'"}}' not in content:
            part = connection.recv(2**16)
            assert part, content
            content += part
    assert content.startswith(f"HTTP/1.1 {code} ".encode())
    assert f'"reason":"{reason}"'.encode() in content
    assert httpx.get(f"{running.url}/livez").status_code == 200


def test_every_answer_has_security_headers_and_the_page_about_the_api_works(
    running: Running,
) -> None:
    expected = {name.decode(): value.decode() for name, value in HEADERS}
    expected["content-security-policy"] = PAGE_POLICY
    for path in ("/", "/livez", "/metrics", "/status", "/predict", "/nothing", "/docs.json"):
        assert expected.items() <= dict(httpx.get(running.url + path).headers).items(), path
    page = httpx.get(running.url).text
    assert 'src="./static_content/swagger-ui-bundle.js"' in page


def test_two_services_of_one_workspace_record_side_by_side(
    running: Running, tmp_path: Path
) -> None:
    drain(running.engine, running.workspace.traffic)
    before = set(window(running.engine, limit=10_000)["prediction_id"])
    with servers.bentoml(
        REPOSITORY, tmp_path, {"HONE_WORKSPACE": str(running.workspace.root)}
    ) as other:
        given = [
            send(url, png(number)).json()["predictions"][0]["prediction_id"]
            for number in range(10)
            for url in (running.url, other.url)
        ]
        drain(running.engine, running.workspace.traffic)
    drain(running.engine, running.workspace.traffic)
    rows = window(running.engine, limit=10_000)["prediction_id"]
    assert rows.is_unique and set(rows) - before == set(given)


def serve_on(port: str, workspace: Workspace, log: Path) -> psutil.Popen:
    with log.open("wb") as output:
        return psutil.Popen(
            [sys.executable, "-m", "bentoml", "serve", str(REPOSITORY), "--port", port],
            env={**os.environ, "HONE_WORKSPACE": str(workspace.root)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def test_a_second_service_on_a_port_ends_with_a_sentence(running: Running, tmp_path: Path) -> None:
    port = running.url.rpartition(":")[2]
    worker = status(running.url)["worker"]
    second = serve_on(port, running.workspace, tmp_path / "second.log")
    assert second.wait() != 0
    log = (tmp_path / "second.log").read_text()
    assert f"port {port} of 127.0.0.1 is taken by another server" in log and "--port" in log
    assert {status(running.url)["worker"] for _ in range(20)} == {worker}


def test_after_sigkill_of_the_parent_a_new_service_takes_the_port(
    place: tuple[Workspace, Engine], tmp_path: Path
) -> None:
    port = str(servers.free_port())
    url = f"http://127.0.0.1:{port}"
    first = serve_on(port, place[0], tmp_path / "first.log")
    second: psutil.Popen | None = None
    try:
        wait_until_ready(url, first, tmp_path / "first.log")
        workers = first.children(recursive=True)
        old = status(url)["worker"]
        first.kill()
        second = serve_on(port, place[0], tmp_path / "second.log")
        psutil.wait_procs(workers, timeout=60)
        wait_until_ready(url, second, tmp_path / "second.log")
        assert status(url)["worker"] != old
        assert send(url, png()).status_code == 200
    finally:
        for process in filter(None, (first, second)):
            if process.is_running():
                process.terminate()
                process.wait()


def wait_until_ready(url: str, process: psutil.Popen, log: Path) -> None:
    while not is_ready(url):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
