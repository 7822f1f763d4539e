"""The images of an HTTP request: bounded in size and number, files only, nothing fetched."""

import codecs
import re
import uuid
from contextlib import aclosing

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

FIELD = "images"
IMAGES = 64  # files in one request
BODY_BYTES = 32 * 2**20  # of one request, all of it in memory; a phone's photo has 2 to 8 MiB
CHARSETS = {"utf-8", "ascii", "iso8859-1", "cp1252"}  # of names, as `codecs` calls them
DIGITS = 20  # of a content length; the rest only makes it larger
NAME_LENGTH = 200  # of a file's name in the answer
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
HOW = f"send files, for example `curl -F {FIELD}=@cat.jpg -F {FIELD}=@dog.png ADDRESS/predict`"


class RequestError(Exception):
    """A request that is refused: HTTP status, a one-word reason and a sentence."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


def request_id_of(request: Request) -> str | None:
    """The client's id of the request, under which it may be repeated; None without one."""
    given = request.headers.get("x-request-id")
    if given is not None and not REQUEST_ID.fullmatch(given):
        raise RequestError(
            400, "BAD_REQUEST_ID", "X-Request-ID takes 1 to 128 of letters, digits and ._:/+=-"
        )
    return given


def new_request_id() -> str:
    """An id for a request whose client gave none."""
    return uuid.uuid4().hex


async def read_images(request: Request) -> list[tuple[str, bytes]]:
    """The name and the bytes of each image in the form; a bad form is a `RequestError`."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        name = kind.decode("latin-1")[:NAME_LENGTH]
        raise RequestError(415, "NOT_A_FORM", f"the body is {name or 'of no type'}; {HOW}")
    _check_charset(options.get(b"charset", b"utf-8").decode("latin-1"))
    stream = Request(request.scope, _BoundedBody(request)).stream()
    try:
        async with aclosing(stream):
            parser = _InMemory(request.headers, stream, max_files=IMAGES, max_fields=IMAGES)
            form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(400, "BAD_FORM", f"{error.message} {HOW}") from error
    except ClientDisconnect as error:
        raise RequestError(400, "CUT_OFF", "the connection ended before the body did") from error
    try:
        return [await _file(name, value) for name, value in form.multi_items()] or _none()
    finally:
        await form.close()


class _InMemory(MultiPartParser):
    """A parser that writes no temporary files: the body is bounded, and the disk may be full."""

    spool_max_size = BODY_BYTES


def _check_charset(name: str) -> None:
    """Refuse encodings of field and file names other than `CHARSETS`.

    Python knows codecs (punycode, unicode_escape) that fail on bytes or make text which no JSON
    can hold.
    """
    try:
        known = codecs.lookup(name).name in CHARSETS
    except (LookupError, ValueError):
        known = False
    if not known:
        raise RequestError(
            400,
            "BAD_CHARSET",
            f"charset {name[:NAME_LENGTH]!r} is not known; leave it out, or send utf-8; {HOW}",
        )


class _BoundedBody:
    """The messages of a request's body; a body over BODY_BYTES is a `RequestError`."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._received = 0
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:DIGITS]) > BODY_BYTES:
            raise _too_large()

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > BODY_BYTES:
            raise _too_large()
        return message


def _too_large() -> RequestError:
    detail = f"more than {BODY_BYTES:,} bytes in one request; send fewer or smaller images"
    return RequestError(413, "BODY_TOO_LARGE", detail)


async def _file(field: str, value: UploadFile | str) -> tuple[str, bytes]:
    if field != FIELD:
        raise RequestError(
            400, "UNKNOWN_FIELD", f"field {field[:NAME_LENGTH]!r} is not known; {HOW}"
        )
    if isinstance(value, str):
        raise RequestError(
            400, "NOT_A_FILE", f"field {FIELD!r} holds text, and no address is fetched; {HOW}"
        )
    return (value.filename or "")[:NAME_LENGTH], await value.read()


def _none() -> list[tuple[str, bytes]]:
    raise RequestError(400, "NO_IMAGE", f"the form has no file; {HOW}")
