"""Who may call our servers: tokens, the addresses that need one, limits, headers of the answers.

The service, its Label Studio backend and the webhook use it. Plain ASGI: it imports no framework.
"""

import hmac
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

HEALTH = ("/livez", "/readyz", "/healthz")  # they tell nothing, and orchestrators have no token
SHOWN = 100  # characters of a caller's header in an answer
TOKEN_LENGTH = 16  # of a token that other machines may try
LOG_SECONDS = 10.0  # one line in so many about refused callers, however many there are
PER_SECOND, BURST = 50.0, 200  # calls of Label Studio: a hundred annotators at one task in 2 s
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
# Where pages are shown: BentoML's page about the API needs its own scripts and styles. The script
# inside of that page, which would load another that counts its visitors, is not run.
PAGE_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

logger = logging.getLogger("hone.access")


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; 0.0.0.0 and :: are every address it has."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def refuse_open_address(host: str, tokens: Mapping[str, str | None], needed: str) -> None:
    """An error when other machines reach `host` and the token `needed` is missing, or one is weak.

    `tokens` are those in use by the names of their settings.
    """
    if is_loopback(host):
        return
    if tokens[needed] is None:
        raise ValueError(
            f"{needed} is not set, and the address {host} is open to other machines: set it to a "
            f"secret of {TOKEN_LENGTH} or more characters, which clients then send as "
            "`Authorization: Bearer ...`, or serve on 127.0.0.1"
        )
    for name, token in tokens.items():
        if token is not None and len(token) < TOKEN_LENGTH:
            raise ValueError(
                f"{name} has {len(token)} characters, and the address {host} is open to other "
                f"machines: choose a secret of {TOKEN_LENGTH} or more"
            )


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket on the address, bound before anybody is told of it; port 0 is any free one."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ValueError(
            f"port {port} of {host} cannot be had ({error.strerror}); name another with --port"
        ) from error
    return listener


class TokenCheck:
    """Compares what callers show with a token, in a time that does not tell how much was right.

    Refusals are logged with the caller's address and never with what was shown. There is no ban:
    behind a proxy all callers have one address.
    """

    def __init__(self, name: str, token: str) -> None:
        self._name, self._token = name, token.encode()
        self._logged, self._unlogged = -LOG_SECONDS, 0

    def accepts(self, shown: bytes, client: str) -> bool:
        """Whether `shown` is the token."""
        if hmac.compare_digest(shown, self._token):
            return True
        self._refused(client, "no" if not shown else "a wrong")
        return False

    def _refused(self, client: str, what: str) -> None:
        self._unlogged += 1
        if time.monotonic() - self._logged >= LOG_SECONDS:
            more = f"; {self._unlogged - 1} others before" if self._unlogged > 1 else ""
            logger.warning("%s sent %s %s and was refused%s", client, what, self._name, more)
            self._logged, self._unlogged = time.monotonic(), 0


class RateLimit:
    """So many calls in a second, and a burst of more after a pause."""

    def __init__(self, per_second: float = PER_SECOND, burst: int = BURST) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._at = float(burst), time.monotonic()

    def allows(self) -> bool:
        """Whether one more call is within the limit; it is counted if so."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class BearerGuard:
    """ASGI middleware: all but health needs `Authorization: Bearer TOKEN`.

    `open_below` are paths with their own check. Without a token only callers at a loopback address
    of ours are answered, in whatever way the server was started, and no page of another site: a
    browser on this machine sends forms for any page, and a site may give its own name our address.
    """

    def __init__(
        self, app: App, *, name: str, token: Callable[[], str | None], open_below: str
    ) -> None:
        self._app, self._name, self._open_below = app, name, open_below
        known = token()
        self._check = TokenCheck(name, known) if known else None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401 or 403."""
        if scope["type"] != "http" or self._is_open(str(scope["path"])):
            await self._app(scope, receive, send)
        elif self._check is None:
            if not is_loopback(str((scope.get("server") or ("",))[0])):
                text = f"{self._name} is not set, so only 127.0.0.1 is answered"
                await _refuse(send, 403, "NO_TOKEN_SET", text)
            elif other := _other_site(scope):
                text = f"the request names {other}, and without {self._name} only pages and names "
                await _refuse(send, 403, "OTHER_SITE", text + "of this machine are answered")
            else:
                await self._app(scope, receive, send)
        elif self._check.accepts(_bearer(scope), client_of(scope)):
            await self._app(scope, receive, send)
        else:
            text = f"send `Authorization: Bearer TOKEN`, the token is {self._name}'s"
            await _refuse(send, 401, "WRONG_TOKEN", text)

    def _is_open(self, path: str) -> bool:
        return path in HEALTH or path.startswith(self._open_below)


class SecurityHeaders:
    """ASGI middleware: no answer is kept, framed or sniffed for another type; only pages run."""

    def __init__(self, app: App, policy: str | None = None) -> None:
        self._app = app
        given = {b"content-security-policy": policy.encode()} if policy else {}
        self._headers = {**dict(HEADERS), **given}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to its answer."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [one for one in message.get("headers", ()) if one[0] not in self._headers]
                message = {**message, "headers": [*others, *self._headers.items()]}
            await send(message)

        await self._app(scope, receive, with_headers)


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request came from."""
    return str((scope.get("client") or ("an unknown address",))[0])


def _bearer(scope: Mapping[str, Any]) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = bytes(value).partition(b" ")
            return token.strip() if kind.lower() == b"bearer" else b""
    return b""


def _other_site(scope: Mapping[str, Any]) -> str:
    """The `Host` or `Origin` of a request that is not this machine; empty when there is none."""
    for header, value in scope["headers"]:
        if header in (b"host", b"origin"):
            named = bytes(value).decode("latin-1")
            try:
                host = urlsplit(named if header == b"origin" else f"//{named}").hostname or ""
            except ValueError:  # brackets around what is no address
                host = ""
            if not (is_loopback(host) or host.endswith(".localhost")):
                return f"{bytes(header).decode()} {named[:SHOWN]!r}"
    return ""


async def _refuse(send: Send, status: int, reason: str, text: str) -> None:
    body = json.dumps({"error": {"reason": reason, "detail": text}}).encode()
    headers = [(b"content-type", b"application/json"), *HEADERS]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="hone"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
