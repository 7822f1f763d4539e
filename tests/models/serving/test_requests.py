"""Reading an image form: any body ends in images or in a named refusal, read once, in memory."""

import asyncio
import errno
import tempfile
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from core.images import ImageRefused, clean_image
from models.serving.requests import BODY_BYTES, CHARSETS, RequestError, read_images

FORM = "multipart/form-data; boundary=x"


class Client:
    """A request whose body comes in parts; it counts the messages that were asked for."""

    def __init__(
        self, parts: Sequence[bytes], headers: dict[str, str], *, ends: bool = True
    ) -> None:
        self.parts, self.taken, self.ends = list(parts), 0, ends
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": raw}
        self.request = Request(scope, self.receive)

    async def receive(self) -> Message:
        if self.taken >= len(self.parts):
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.taken < len(self.parts) or not self.ends
        return {"type": "http.request", "body": self.parts[self.taken - 1], "more_body": more}

    def read(self) -> list[tuple[str, bytes]]:
        return asyncio.run(read_images(self.request))


def part(content: bytes, name: bytes = b"images", file: bytes = b"a.png") -> bytes:
    disposition = b'form-data; name="%s"; filename="%s"' % (name, file)
    return b"--x\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (disposition, content)


def read(*parts: bytes, content_type: str = FORM, **headers: str) -> list[tuple[str, bytes]]:
    return Client(parts, {"content-type": content_type, **headers}).read()


def refusal(*parts: bytes, content_type: str = FORM, **headers: str) -> RequestError:
    with pytest.raises(RequestError) as refused:
        read(*parts, content_type=content_type, **headers)
    return refused.value


def test_the_files_of_a_form_are_read_in_order() -> None:
    assert read(part(b"one") + part(b"two", file=b"b.png"), b"--x--\r\n") == [
        ("a.png", b"one"),
        ("b.png", b"two"),
    ]


@pytest.mark.parametrize(
    "charset",
    ["undefined", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "zip", "\0"],
)
def test_a_charset_that_python_cannot_decode_names_with_is_refused(charset: str) -> None:
    body = part(b"content", file=rb"\ud800.png") + b"--x--\r\n"
    problem = refusal(body, content_type=f"{FORM}; charset={charset}")
    assert (problem.status, problem.reason) == (400, "BAD_CHARSET")


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_a_plain_charset_is_taken(charset: str) -> None:
    body = part(b"content", file="ä.png".encode()) + b"--x--\r\n"
    [(name, content)] = read(body, content_type=f"{FORM}; charset={charset}")
    assert name.encode() and content == b"content"


def test_a_large_image_needs_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    content = bytes(3 * 2**20)
    body = part(content) + b"--x--\r\n"
    parts = [body[start : start + 2**16] for start in range(0, len(body), 2**16)]
    assert read(*parts) == [("a.png", content)]


@pytest.mark.parametrize("length", [str(BODY_BYTES + 1), "9" * 5_000])
def test_a_declared_length_over_the_limit_is_refused_before_a_byte_is_read(length: str) -> None:
    client = Client([b"--x--\r\n"], {"content-type": FORM, "content-length": length})
    with pytest.raises(RequestError) as refused:
        client.read()
    assert (refused.value.status, client.taken) == (413, 0)


def test_a_connection_that_ends_early_is_named() -> None:
    client = Client([part(b"one"), b"--x"], {"content-type": FORM}, ends=False)
    with pytest.raises(RequestError) as refused:
        client.read()
    assert (refused.value.status, refused.value.reason) == (400, "CUT_OFF")


def test_the_file_that_stopped_the_service_is_read_and_refused_as_an_image() -> None:
    hostile = b"\xff\xd8" + b"\xff" * 300_000
    [(_, content)] = read(part(hostile) + b"--x--\r\n")
    with pytest.raises(ImageRefused, match="TRUNCATED"):
        clean_image(content)


pieces = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"--x", b"\r\n", b"--x--\r\n", b"\r\n--x\r\n", b"Content-Disposition: ", b": "]
    ),
    st.sampled_from(
        [b'form-data; name="images"', b'; filename="', b"; filename*=utf-8''%ff", b"=?"]
    ),
    st.builds(part, st.binary(max_size=30), file=st.binary(max_size=10)),
)
kinds = st.one_of(
    st.sampled_from(
        [FORM, FORM + '; charset="', "multipart/form-data", FORM + "; boundary*=x'y'z"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=20).map(lambda text: f"{FORM}; {text}"),
    st.text(st.characters(max_codepoint=255), max_size=20).map(
        lambda text: f"{FORM}; charset={text}"
    ),
    st.text(st.characters(max_codepoint=255), max_size=20),
)


@settings(max_examples=400, deadline=None)
@given(kinds, st.lists(st.lists(pieces, max_size=6).map(b"".join), max_size=6))
def test_any_form_ends_in_images_or_in_a_named_refusal(kind: str, parts: list[bytes]) -> None:
    client = Client(parts, {"content-type": kind})
    try:
        files = client.read()
    except RequestError as refused:
        assert 400 <= refused.status < 500 and refused.reason.isupper()
        refused.detail.encode()
    else:
        assert sum(len(content) for _, content in files) <= sum(map(len, parts))
        assert [name.encode() for name, _ in files] != []
    assert client.taken <= len(parts)
