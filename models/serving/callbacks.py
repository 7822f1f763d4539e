"""Addresses to which the service's clients want the label of their images sent, once it settled.

An address must be below one in HONE_CALLBACKS. What was asked for goes to segments of its own, in
the folder `callbacks` of the traffic, and is on disk before the request is answered.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from core.database import now
from core.errors import HoneError
from core.moments import moment
from core.text import short, storable
from models.serving.feedback_records import PREDICTION_ID
from models.serving.requests import RequestError
from models.serving.segments import SegmentWriter

FOLDER = "callbacks"  # in that of the traffic
HEADER = "x-callback-url"
LONGEST = 2_000  # characters of an address
SHORTEST_SECRET = 16
PRIVATE = "private+"  # before an address of HONE_CALLBACKS that may be of a private network
PRINTABLE = re.compile(r"[!-~]+")
# What a server may read as another path than ours: dots, empty parts, parameters, and a %, slash or
# dot that is written as %25, %2f or %2e, as it may be decoded twice.
AMBIGUOUS = re.compile(
    r"(^|/)\.{1,2}(/|$)|//|;|%(2[5ef]|3b|5c|(?![0-9a-f]{2}))", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True)
class Rule:
    """Addresses that may be called: those of a server whose path begins so."""

    scheme: str
    host: str
    port: int
    path: str
    private: bool  # whether the server may be in a private network

    def allows(self, url: SplitResult) -> bool:
        """Whether an address is below this one."""
        server = self.scheme, self.host, self.port
        path = url.path or "/"
        below = path == self.path or path.startswith(f"{self.path.rstrip('/')}/")
        return server == _server(url) and below


@dataclass(frozen=True)
class CallbackRequest:
    """Somebody wants the label of an image sent."""

    callback_id: str
    prediction_id: str
    sample_id: str
    url: str
    asked_at: str


def rules_of(setting: str | None, secret: str | None) -> tuple[Rule, ...]:
    """The rules of HONE_CALLBACKS, addresses with spaces between; unsound ones are an error."""
    rules = []
    for text in (setting or "").split():
        private = text.startswith(PRIVATE)
        url = _parsed(text.removeprefix(PRIVATE))
        if url is None or url.query or (url.scheme != "https" and not private):
            raise HoneError(
                f"HONE_CALLBACKS has {short(text)}; write addresses like https://example.com/hone/,"
                f" or {PRIVATE}https://10.0.0.5/ for a server of a private network"
            )
        rules.append(Rule(*_server(url), url.path or "/", private))
    if rules and len(secret or "") < SHORTEST_SECRET:
        raise HoneError(
            "HONE_CALLBACKS is set and HONE_CALLBACK_SECRET is not, or is shorter than "
            f"{SHORTEST_SECRET} characters: receivers know by it that a call is of this service"
        )
    return tuple(rules)


def rule_for(text: str, rules: Iterable[Rule]) -> Rule | None:
    """The rule that allows an address; None where none does."""
    url = _parsed(text)
    return None if url is None else next((rule for rule in rules if rule.allows(url)), None)


def server_of(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address on record, however these are written in it."""
    return _server(urlsplit(text))


class CallbackRecorder:
    """Takes the addresses of requests, and records them on disk."""

    def __init__(self, traffic: Path, rules: tuple[Rule, ...]) -> None:
        self._writer = SegmentWriter(traffic / FOLDER)
        self._rules = rules

    def url_of(self, request: Request) -> str | None:
        """The address that a request names, allowed; None without one."""
        given = request.headers.get(HEADER)
        if given is not None and rule_for(given, self._rules) is None:
            detail = f"X-Callback-Url {short(given)} is not below an address in HONE_CALLBACKS"
            raise RequestError(400, "BAD_CALLBACK", detail)
        return given

    async def record(self, url: str | None, answers: Iterable[Mapping[str, Any]]) -> None:
        """Record on disk that the labels of these answers are to be sent; known ones count once."""
        wanted = [callback_request(url, one) for one in answers if "label" in one] if url else []
        if not wanted:
            return
        try:
            parts = [(json.dumps(asdict(one)).encode(), b"") for one in wanted]
            await asyncio.to_thread(self._writer.append_parts, parts)
        except OSError as error:
            detail = f"the callback could not be recorded ({error}); send the request again"
            raise RequestError(503, "UNAVAILABLE", detail, retry_after=1) from error

    def close(self) -> None:
        """Close the segment; a later record begins a new one."""
        self._writer.close()


def callback_request(url: str, answer: Mapping[str, Any]) -> CallbackRequest:
    """What is recorded of an answer; the same answer and address are the same callback."""
    identity = f"{answer['prediction_id']}\n{url}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return CallbackRequest(digest, answer["prediction_id"], answer["sample_id"], url, now())


def fields_of_callback(text: bytes) -> dict[str, Any] | None:
    """The fields of a record; None where another program wrote them, whatever the checksum says."""
    try:
        fields = json.loads(text)
        made = CallbackRequest(**fields)
        if not all(isinstance(one, str) and storable(one) == one for one in fields.values()):
            return None
        sound = moment(made.asked_at) == made.asked_at and _parsed(made.url) is not None
    except (ValueError, TypeError, RecursionError):
        return None
    return fields if sound and PREDICTION_ID.fullmatch(made.prediction_id) else None


def _parsed(text: str) -> SplitResult | None:
    """An address without user and fragment whose path has one meaning; None for anything else."""
    if len(text) > LONGEST or not PRINTABLE.fullmatch(text) or "\\" in text:
        return None
    try:
        url = urlsplit(text)
        server = _server(url)
    except ValueError:  # no port, or a bracket that is not closed
        return None
    if url.scheme not in ("http", "https") or not server[1] or "@" in url.netloc:
        return None
    return None if AMBIGUOUS.search(url.path) or url.fragment else url


def _server(url: SplitResult) -> tuple[str, str, int]:
    usual = 443 if url.scheme == "https" else 80
    return url.scheme, (url.hostname or "").rstrip("."), url.port or usual
