"""Where alerts go: the channels of HONE_ALERTS, by names without secrets, and one way to call them.

A channel that hangs costs `SECONDS`, however many there are: each is called in a process of its
own, all at once, and what has not answered by then is killed.
"""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from core.child_environment import environment_without_secrets
from core.text import printable

SECONDS = 20.0
AT_ONCE = 8
ERROR_LENGTH = 300
SENDER = Path(__file__).with_name("send_message.py")
# In other addresses the place of the host is a token: slack://TOKEN/TOKEN/TOKEN.
HAS_HOST = {"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "http", "https"}
_BETWEEN = re.compile(r"\s+|,(?=\s*[A-Za-z][\w+.-]*://)")
_SIGNS = re.compile(r"[:/@?&=#,;+\s]+")


@dataclass(frozen=True)
class Channel:
    """One address of HONE_ALERTS and the name that it has in records and on the screen."""

    name: str
    url: str = field(repr=False)


@dataclass(frozen=True)
class Message:
    """What a channel is sent. The id lets a receiver know a message that is sent again."""

    message_id: str
    title: str
    body: str
    picture: bytes | None = field(default=None, repr=False)


def channels_of(setting: str) -> list[Channel]:
    """The channels of HONE_ALERTS, addresses with spaces or commas between them."""
    channels: list[Channel] = []
    used: dict[str, int] = {}
    for url in filter(None, _BETWEEN.split(setting)):
        name = public_name(url)
        used[name] = used.get(name, 0) + 1
        channels.append(Channel(name if used[name] == 1 else f"{name} ({used[name]})", url))
    return channels


def public_name(url: str) -> str:
    """What may be shown of an address: its service, and the host or folder where that is public."""
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "an address without a service"
    try:
        parts = urlsplit(url)
        where = _public_place(scheme.lower(), parts)
    except ValueError:  # a port that is no number: part of a password with a sign in it
        where = ""
    return printable(f"{scheme.lower()}://{where}")


def without_secrets(text: str, url: str) -> str:
    """A text of a service without the parts of its address that are not public."""
    shown = public_name(url)
    rest = url.partition("://")[2] or url
    place, _, query = rest.partition("?")
    values = [value for _, value in parse_qsl(query)]
    pieces = {
        rest,
        *values,
        *(piece for whole in (place, *values) for piece in _SIGNS.split(whole)),
    }
    for piece in sorted(pieces | {*map(unquote, pieces)}, key=len, reverse=True):
        if len(piece) > 2 and piece not in shown:
            text = text.replace(piece, "***")
    return printable(" ".join(text.split()))[:ERROR_LENGTH]


def deliver(
    outgoing: Sequence[tuple[Channel, Message]], seconds: float = SECONDS
) -> list[str | None]:
    """Why each channel did not take its message, None where it did, in the order of `outgoing`."""
    if not outgoing:
        return []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: _deliver(one[0], one[1], seconds), outgoing))


def _deliver(channel: Channel, message: Message, seconds: float) -> str | None:
    picture = base64.b64encode(message.picture).decode() if message.picture else None
    asked = {
        "url": channel.url, "title": message.title, "body": message.body, "picture": picture,
        "message_id": message.message_id, "seconds": seconds,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(SENDER)], input=json.dumps(asked), capture_output=True,
            text=True, check=False, timeout=seconds, env=environment_without_secrets(), cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not answer within {seconds:g} seconds"
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return without_secrets(f"the sender ended with {done.returncode}: {reason}", channel.url)
    try:
        error = json.loads(done.stdout.splitlines()[-1])["error"]
    except (IndexError, KeyError, TypeError, ValueError):  # or no channel's outcome was recorded
        return "the sender ended without saying what came of it"
    return None if error is None else without_secrets(error, channel.url)


def _public_place(scheme: str, parts: SplitResult) -> str:
    """Host and port, or the folder; empty where a password may have split the address wrongly."""
    if scheme == "file":
        return f"{parts.netloc}{unquote(parts.path)}"
    misplaced = "@" in parts.path + parts.fragment + parts.query.partition("=")[0]
    if scheme not in HAS_HOST or misplaced:
        return ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or ''}{port}"
