"""The images of an HTTP request: bounded in number, files only, nothing fetched."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

FIELD = "images"
IMAGES = 64  # files in one request
PART_HEADER_BYTES = 2**13  # of one file: its name and type
AT_ONCE = 2**20  # bytes of a form that are taken apart at once: a millisecond
CHARSETS = {  # of file names: what clients call them, and Python
    "utf-8": "utf-8", "utf8": "utf-8", "ascii": "ascii", "us-ascii": "ascii",
    "iso-8859-1": "latin-1", "latin-1": "latin-1", "latin1": "latin-1",
    "windows-1252": "cp1252", "cp1252": "cp1252",
}  # fmt: skip
REASON = "hone.reason"  # of a refusal, in the scope of its request
NAME_LENGTH = 200  # of a file's name in the answer
# What clients usually send, with nothing to be unquoted in it; else the library parses it.
_USUAL_KIND = re.compile(r"multipart/form-data; boundary=([A-Za-z0-9'_-]{1,70})")
_USUAL_FILE = re.compile(rb'form-data; name="images"; filename="([ !#-:<-\[\]-~]{1,200})"')
SOURCE = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
HOW = f"send files, for example `curl -F {FIELD}=@cat.jpg -F {FIELD}=@dog.png ADDRESS/predict`"


class RequestError(Exception):
    """A request that is refused: HTTP status, a one-word reason and a sentence."""

    def __init__(
        self, status: int, reason: str, detail: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.retry_after = retry_after

    def response(self, headers: dict[str, str] | None = None) -> "Refusal":
        """The answer that names the refusal, with the seconds after which a retry may succeed."""
        seconds = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        error = {"error": {"reason": self.reason, "detail": self.detail}}
        return Refusal(self.reason, error, self.status, {**seconds, **(headers or {})})


class Refusal(JSONResponse):
    """An answer that also names its reason to the middleware that counts answers."""

    def __init__(
        self, reason: str, content: Any, status: int, headers: Mapping[str, str] | None
    ) -> None:
        super().__init__(content, status, headers)
        self._reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        reason_of(scope).append(self._reason)
        await super().__call__(scope, receive, send)


def reason_of(scope: Scope) -> list[str]:
    """Where whatever refuses the request of this scope puts its reason; empty until then."""
    reasons: list[str] = scope.setdefault(REASON, [])
    return reasons


def request_id_of(request: Request) -> str | None:
    """The client's id of the request, under which it may be repeated; None without one."""
    given = request.headers.get("x-request-id")
    if given is not None and not REQUEST_ID.fullmatch(given):
        raise RequestError(
            400, "BAD_REQUEST_ID", "X-Request-ID takes 1 to 128 of letters, digits and ._:/+=-"
        )
    return given


def source_of(request: Request) -> str | None:
    """Where the client says that the images come from; None where it says nothing."""
    given = request.headers.get("x-source")
    if given is not None and not SOURCE.fullmatch(given):
        raise RequestError(
            400, "BAD_SOURCE", "X-Source takes 1 to 100 printable characters of ASCII"
        )
    return given


@dataclass(frozen=True)
class Sender:
    """What a client says of itself."""

    source: str | None = None  # where the images come from
    key: str | None = None  # by which a canary answers it or the champion


NOBODY = Sender()


def sender_of(request: Request) -> Sender:
    """What the client of this request says of itself."""
    key = request.headers.get("x-client-key")
    if key is not None and not SOURCE.fullmatch(key):
        raise RequestError(
            400, "BAD_CLIENT_KEY", "X-Client-Key takes 1 to 100 printable characters of ASCII"
        )
    return Sender(source_of(request), key)


def new_request_id() -> str:
    """An id for a request whose client gave none."""
    return secrets.token_hex(16)


def digest_of(images: list[bytes]) -> str:
    """What tells a repeated request from another one under its id."""
    parts = (hashlib.sha256(image).digest() for image in images)
    return hashlib.sha256(b"".join(parts)).hexdigest()


async def read_images(request: Request) -> list[tuple[str, bytes]]:
    """The name and the bytes of each image in the form; a bad form is a `RequestError`."""
    content_type = request.headers.get("content-type", "")
    try:
        body = await request.body()
    except ClientDisconnect as error:
        raise RequestError(400, "CUT_OFF", "the connection ended before the body did") from error
    if len(body) <= AT_ONCE:
        return parse_form(content_type, body)
    return await asyncio.to_thread(parse_form, content_type, body)


def parse_form(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """The name and the bytes of each image in a form, by searches that go over it once."""
    usual = _USUAL_KIND.fullmatch(content_type)
    if usual:
        return _files(usual[1].encode(), body, "utf-8")
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        name = kind.decode("latin-1")[:NAME_LENGTH]
        raise RequestError(415, "NOT_A_FORM", f"the body is {name or 'of no type'}; {HOW}")
    charset = _charset(options.get(b"charset", b"utf-8").decode("latin-1"))
    return _files(options.get(b"boundary", b""), body, charset)


def _files(boundary: bytes, body: bytes, charset: str) -> list[tuple[str, bytes]]:
    files = [(_file_name(header, charset), content) for header, content in _parts(boundary, body)]
    if not files:
        raise RequestError(400, "NO_IMAGE", f"the form has no file; {HOW}")
    return files


def _parts(boundary: bytes, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Header and content of each part between the boundaries."""
    if not boundary:
        raise _bad_form("its content type names no boundary")
    delimiter = b"\r\n--" + boundary
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if at == 1:  # not found
        raise _bad_form("its boundary is not in the body")
    at += len(delimiter) - 2
    for _ in range(IMAGES + 1):
        if body.startswith(b"--", at):
            return
        start = body.find(b"\r\n", at, at + PART_HEADER_BYTES)
        end = body.find(b"\r\n\r\n", start, start + PART_HEADER_BYTES)
        if start < 0 or end < 0 or body[at:start].strip(b" \t"):
            raise _bad_form(f"the header of a file is damaged, or over {PART_HEADER_BYTES:,} bytes")
        following = body.find(delimiter, end + 2)
        if following < 0:
            raise _bad_form("it ends inside a file, without its last boundary")
        yield body[start:end], body[end + 4 : following]
        at = following + len(delimiter)
    raise RequestError(
        413, "TOO_MANY_IMAGES", f"more than {IMAGES} files in one request; send fewer at a time"
    )


def _file_name(header: bytes, charset: str) -> str:
    """The name of the file that a part's header describes; other parts are refused."""
    disposition = b""
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            disposition = value.strip()
    usual = _USUAL_FILE.fullmatch(disposition)
    if usual:
        return usual[1].decode("ascii")
    kind, options = parse_options_header(disposition)
    field = options.get(b"name")
    if kind != b"form-data" or field is None:
        raise _bad_form("a part has no `Content-Disposition: form-data` with a name")
    if field != FIELD.encode():
        shown = _text(field, charset)[:NAME_LENGTH]
        raise RequestError(400, "UNKNOWN_FIELD", f"field {shown!r} is not known; {HOW}")
    if b"filename" not in options:
        raise RequestError(
            400, "NOT_A_FILE", f"field {FIELD!r} holds text, and no address is fetched; {HOW}"
        )
    return _text(options[b"filename"], charset)[:NAME_LENGTH]


def _text(name: bytes, charset: str) -> str:
    try:
        return name.decode(charset)
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _charset(name: str) -> str:
    """The encoding of field and file names, one of `CHARSETS`.

    Python is not asked for a client's name: it knows codecs (punycode, unicode_escape) that fail
    on bytes or make text which no JSON can hold, and keeps each name that it was asked for.
    """
    charset = CHARSETS.get(name.strip().lower())
    if charset is None:
        raise RequestError(
            400,
            "BAD_CHARSET",
            f"charset {name[:NAME_LENGTH]!r} is not known; leave it out, or send utf-8; {HOW}",
        )
    return charset


def _bad_form(cause: str) -> RequestError:
    return RequestError(400, "BAD_FORM", f"the form cannot be read: {cause}; {HOW}")
