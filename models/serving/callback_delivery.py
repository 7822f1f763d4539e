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
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from core.text import printable
from models.serving.callback_store import ANSWERED, NOT_LISTED, DueCall
from models.serving.callbacks import Rule, rule_for

SECONDS = 10.0  # of a call, from the first packet to the status
ERROR_LENGTH = 300
NAT64 = IPv6Network("64:ff9b::/96")  # the last 32 bits are the IPv4 address that is called
# Of IPv6 without a use on the internet today, but routed by some hosts to what may be private:
# IPv4-compatible, site-local, 6to4, Teredo and local NAT64.
OUT_OF_USE = [
    IPv6Network(one) for one in ("::/96", "fec0::/10", "2002::/16", "2001::/32", "64:ff9b:1::/48")
]


def deliver(call: DueCall, rules: Iterable[Rule], secret: str) -> str | None:
    """Send a label to its receiver; None when it took it (status 2xx), else why not."""
    rule = rule_for(call.url, rules)
    if rule is None:
        return NOT_LISTED
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
    return None if 200 <= status < 300 else f"{ANSWERED} {status}"


def signature(secret: str, moment: str, body: bytes) -> str:
    """What a receiver computes, too, to know that a call is of this service and not changed."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def delivery_id(call: DueCall) -> str:
    """What tells a label that is sent again from another one."""
    return hashlib.sha256(f"{call.callback_id}\n{call.settled_at}".encode()).hexdigest()[:32]


def is_public(text: str) -> bool:
    """Whether an IP address is of the open internet."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return is_public(str(IPv4Address(int(address) % 2**32)))
        if address.ipv4_mapped:
            return is_public(str(address.ipv4_mapped))
        if any(address in network for network in OUT_OF_USE):
            return False
    return address.is_global and not address.is_multicast


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
        closed = [one for one in addresses if not is_public(one)]
        if closed:
            raise ValueError(
                f"{rule.host} is {closed[0]}, of a private network; write private+ before the "
                "address in HONE_CALLBACKS if that is meant"
            )
    return addresses[0]
