"""Who may call: tokens, addresses that need one, limits and headers."""

import asyncio
import hmac
import json
import logging
import time
from typing import Any

import pytest

from core import http_access
from core.http_access import (
    BearerGuard,
    RateLimit,
    SecurityHeaders,
    TokenCheck,
    bound_socket,
    is_loopback,
    refuse_open_address,
)

TOKEN = "a-long-secret-of-ours"
NAME = "HONE_SERVICE_TOKEN"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers everything."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b"{}"})


def call(
    app: Any,
    path: str = "/predict",
    shown: str | None = None,
    at: str = "127.0.0.1",
    **more: str,
) -> tuple[int, dict[bytes, bytes], Any]:
    """Status, headers and JSON of a request that arrived at our address `at`."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body of a request that may be refused is not read")

    headers = [] if shown is None else [(b"authorization", shown.encode())]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    scope: dict[str, Any] = {"type": "http", "path": path, "headers": headers}
    scope |= {"server": (at, 3000), "client": ("10.0.0.7", 50000)}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


def guard(token: str | None = TOKEN) -> BearerGuard:
    return BearerGuard(answer, name=NAME, token=lambda: token, open_below="/label-studio/")


@pytest.mark.parametrize(
    ("host", "only_this_machine"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("localhost", True), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False),
        ("::ffff:10.0.0.1", False), ("example.com", False), ("", False),
    ],
)  # fmt: skip
def test_an_address_is_loopback_or_open(host: str, only_this_machine: bool) -> None:
    assert is_loopback(host) is only_this_machine


def test_a_server_that_others_reach_starts_with_a_strong_token_only() -> None:
    refuse_open_address("127.0.0.1", {NAME: None}, needed=NAME)
    refuse_open_address("0.0.0.0", {NAME: TOKEN, "HONE_BACKEND_SECRET": None}, needed=NAME)
    with pytest.raises(ValueError, match=r"HONE_SERVICE_TOKEN is not set.*0\.0\.0\.0.*127\.0"):
        refuse_open_address("0.0.0.0", {NAME: None}, needed=NAME)
    weak = {NAME: TOKEN, "HONE_BACKEND_SECRET": "sesame"}
    with pytest.raises(ValueError, match="HONE_BACKEND_SECRET has 6 characters") as refused:
        refuse_open_address("::", weak, needed=NAME)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN,
     f"Bearer {TOKEN[:-1]}", "Bearer \u00fc"],
)  # fmt: skip
def test_a_request_without_the_token_is_refused(shown: str | None) -> None:
    status, headers, body = call(guard(), shown=shown)
    assert (status, body["error"]["reason"]) == (401, "WRONG_TOKEN")
    assert headers[b"www-authenticate"].startswith(b"Bearer")
    assert TOKEN not in str(body)


@pytest.mark.parametrize("path", ["/predict", "/status", "/metrics", "/docs.json", "/livez/x", "/"])
def test_everything_but_health_needs_the_token(path: str) -> None:
    assert call(guard(), path)[0] == 401
    assert call(guard(), path, f"Bearer {TOKEN}")[0] == 200
    assert call(guard(), path, f"bearer  {TOKEN}")[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/label-studio/predict"])
def test_health_is_open_and_the_backend_has_its_own_password(path: str) -> None:
    assert call(guard(), path)[0] == 200


def test_without_a_token_a_request_from_another_machine_is_refused_however_it_was_started() -> None:
    assert call(guard(None), at="127.0.0.1")[0] == 200
    status, _, body = call(guard(None), at="192.168.1.2")
    assert (status, body["error"]["reason"]) == (403, "NO_TOKEN_SET")


@pytest.mark.parametrize(
    "named", ["http://evil.example", "null", "", "http://[::1", "http://10.0.0.1"]
)
def test_without_a_token_no_page_of_another_site_is_answered(named: str) -> None:
    """A form on any page can be sent to 127.0.0.1, where its images became traffic."""
    refused = call(guard(None), origin=named, host="127.0.0.1:3000")
    assert (refused[0], refused[2]["error"]["reason"]) == (403, "OTHER_SITE")
    assert call(guard(), shown=f"Bearer {TOKEN}", origin=named)[0] == 200
    assert call(guard(None), "/livez", origin=named)[0] == 200


@pytest.mark.parametrize(
    "named", ["evil.example:3000", "localhost.evil.example", "[::1", "127.1.evil"]
)
def test_without_a_token_a_name_that_was_given_our_address_is_not_answered(named: str) -> None:
    refused = call(guard(None), host=named)
    assert (refused[0], refused[2]["error"]["reason"]) == (403, "OTHER_SITE")


@pytest.mark.parametrize("port", ["", ":3000"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "hone.localhost"])
def test_pages_and_names_of_this_machine_are_answered(name: str, port: str) -> None:
    assert call(guard(None), host=name + port)[0] == 200
    assert call(guard(None), host=name + port, origin=f"http://{name}:8080")[0] == 200


def test_refused_callers_are_logged_by_address_not_by_what_they_sent_and_not_each(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    check = TokenCheck(NAME, TOKEN)
    with caplog.at_level(logging.DEBUG):
        for number in range(500):
            assert not check.accepts(b"guess-%d" % number, "10.0.0.7")
        now[0] += http_access.LOG_SECONDS
        assert not check.accepts(b"", "10.0.0.8")
        assert check.accepts(TOKEN.encode(), "10.0.0.9"), "no ban: a proxy has one address"
    assert caplog.messages == [
        "10.0.0.7 sent a wrong HONE_SERVICE_TOKEN and was refused",
        "10.0.0.8 sent no HONE_SERVICE_TOKEN and was refused; 499 others before",
    ]


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not TokenCheck(NAME, TOKEN).accepts(b"a", "10.0.0.7")
    assert compared == [(b"a", TOKEN.encode())]


def test_a_burst_is_allowed_and_then_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limit = RateLimit(per_second=2, burst=3)
    assert [limit.allows() for _ in range(5)] == [True, True, True, False, False]
    now[0] += 0.5
    assert [limit.allows() for _ in range(2)] == [True, False]
    now[0] += 3600
    assert [limit.allows() for _ in range(4)] == [True, True, True, False]


def test_every_answer_has_the_headers() -> None:
    status, headers, _ = call(SecurityHeaders(answer))
    assert status == 200
    assert headers[b"x"] == b"y"
    assert dict(http_access.HEADERS).items() <= headers.items()
    assert dict(http_access.HEADERS).items() <= call(guard())[1].items()


def test_a_policy_of_its_own_replaces_the_strict_one_and_no_header_comes_twice() -> None:
    names: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def count(message: Any) -> None:
            names.extend(name for name, _ in message.get("headers", ()))
            await send(message)

        strict = SecurityHeaders(answer)
        await SecurityHeaders(strict, policy="default-src 'self'")(scope, receive, count)

    _, headers, _ = call(app)
    assert headers[b"content-security-policy"] == b"default-src 'self'"
    assert len(names) == len(set(names)) == len(http_access.HEADERS) + 1


def test_a_port_that_is_taken_is_named() -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port} of 127.0.0.1 cannot be had"):
            bound_socket("127.0.0.1", port)
