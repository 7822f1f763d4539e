"""One call of a receiver: signed, bounded in time, to an address that was checked, once.

A name is resolved here and the very address that was checked is called: a name server that answers
differently the second time leads nowhere. Redirects are not followed.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from core.text import printable
from models.serving.callback_store import DueCall
from models.serving.callbacks import Rule, rule_for

SECONDS = 10.0  # of a call, from the first packet to the status
ERROR_LENGTH = 300


def deliver(call: DueCall, rules: Iterable[Rule], secret: str) -> str | None:
    """Send a label to its receiver; None when it took it (status 2xx), else why not."""
    rule = rule_for(call.url, rules)
    if rule is None:
        return "the address is no longer below one in HONE_CALLBACKS"
    body = json.dumps(
        {
            "prediction_id": call.prediction_id, "label": call.label, "trust": call.trust,
            "settled_at": call.settled_at,
        }
    ).encode()  # fmt: skip
    try:
        status = _post(call.url, rule, body, _headers(call, body, secret))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return printable(f"{type(error).__name__}: {error}")[:ERROR_LENGTH]
    return None if 200 <= status < 300 else f"the receiver answered {status}"


def signature(secret: str, moment: str, body: bytes) -> str:
    """What a receiver computes, too, to know that a call is of this service and not changed."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def delivery_id(call: DueCall) -> str:
    """What tells a label that is sent again from another one."""
    return hashlib.sha256(f"{call.callback_id}\n{call.settled_at}".encode()).hexdigest()[:32]


def _headers(call: DueCall, body: bytes, secret: str) -> dict[str, str]:
    moment = str(int(time.time()))
    return {
        "Content-Type": "application/json", "User-Agent": "hone",
        "X-Hone-Delivery": delivery_id(call), "X-Hone-Timestamp": moment,
        "X-Hone-Signature": signature(secret, moment, body),
    }  # fmt: skip


def _post(url: str, rule: Rule, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(rule.host, rule.port, timeout=SECONDS)
    opened = [socket.create_connection((_address(rule), rule.port), SECONDS)]
    # Each read may take SECONDS, and a receiver may send a byte at a time: so the whole is bounded.
    clock = threading.Timer(SECONDS, lambda: _end(opened[-1]))
    clock.daemon = True
    clock.start()
    try:
        if rule.scheme == "https":
            context = ssl.create_default_context()
            secure = context.wrap_socket(
                opened[0], server_hostname=rule.host, do_handshake_on_connect=False
            )
            opened.append(secure)
            secure.do_handshake()
        connection.sock = opened[-1]
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request("POST", target, body, headers)
        return connection.getresponse().status
    finally:
        clock.cancel()
        connection.close()
        opened[-1].close()


def _end(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:  # it ended by itself
        return


def _address(rule: Rule) -> str:
    """The address of a server, one of the open internet unless the rule says otherwise."""
    resolved: list[Any] = socket.getaddrinfo(rule.host, rule.port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in resolved]
    if not rule.private:
        closed = [one for one in addresses if not ip_address(one.partition("%")[0]).is_global]
        if closed:
            raise ValueError(
                f"{rule.host} is {closed[0]}, of a private network; write private+ before the "
                "address in HONE_CALLBACKS if that is meant"
            )
    return addresses[0]
