"""The images of an HTTP request: bounded in size and number, files only, nothing fetched."""

import re
import uuid

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

FIELD = "images"
IMAGES = 64  # files in one request
BODY_BYTES = 32 * 2**20  # of one request, all of it in memory; a phone's photo has 2 to 8 MiB
NAME_LENGTH = 200  # of a file's name, which is only repeated in the answer
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
HOW = f"send files, for example `curl -F {FIELD}=@cat.jpg -F {FIELD}=@dog.png ADDRESS/predict`"


class RequestError(Exception):
    """A request answered with an error: its HTTP status, a reason in one word, a sentence."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail


def request_id_of(request: Request) -> str | None:
    """The id that the client gave the request, to be repeated with it; None when it gave none."""
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
    """The name and the bytes of each image in the form; a `Problem` says what is wrong with it."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RequestError(415, "NOT_A_FORM", f"the body is {kind or 'of no type'}; {HOW}")
    bounded = Request(request.scope, _Bounded(request))
    try:
        async with bounded.form(max_files=IMAGES, max_fields=IMAGES) as form:
            return [await _file(name, value) for name, value in form.multi_items()] or _none()
    except HTTPException as error:
        raise RequestError(400, "BAD_FORM", f"{error.detail} {HOW}") from error
    except ClientDisconnect as error:
        raise RequestError(400, "CUT_OFF", "the connection ended before the body did") from error


class _Bounded:
    """The body of a request as it comes in, stopped where it gets too long."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._seen = 0
        said = request.headers.get("content-length", "")
        if said.isdecimal():
            self._count(int(said))
            self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._count(len(message.get("body", b"")))
        return message

    def _count(self, more: int) -> None:
        self._seen += more
        if self._seen > BODY_BYTES:
            raise RequestError(
                413,
                "BODY_TOO_LARGE",
                f"more than {BODY_BYTES:,} bytes in one request; send fewer or smaller images",
            )


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
