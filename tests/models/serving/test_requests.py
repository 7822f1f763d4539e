"""Reading an image form: any body ends in images or in a named refusal, read once, in memory."""

import asyncio
import encodings
import sys
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.types import Message

from core.images import ImageRefused, clean_image
from models.serving import requests
from models.serving.requests import (
    CHARSETS,
    IMAGES,
    PART_HEADER_BYTES,
    RequestError,
    parse_form,
    read_images,
)
from tests.counted_work import lines_run

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


def test_a_charset_that_is_refused_takes_no_memory() -> None:
    """Python keeps each name that it does not know: 15 kB of a request, for ever."""
    for number in range(10):
        refusal(part(b"one"), END, content_type=f"{FORM}; charset=unheard-of-{number}")
    assert [name for name in encodings._cache if "unheard" in name] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("charset", sorted([*CHARSETS, "UTF-8", "Windows-1252"]))
def test_a_plain_charset_is_taken(charset: str) -> None:
    body = part(b"content", file="ä.png".encode()) + b"--x--\r\n"
    [(name, content)] = read(body, content_type=f"{FORM}; charset={charset}")
    assert name.encode() and content == b"content"


END = b"--x--\r\n"
DISPOSITION = b"Content-Disposition: form-data; name=images; filename=a.png"
MALFORMED = {  # name: content type, body, reason
    "no-body": (FORM, b"", "BAD_FORM"),
    "no-boundary": ("multipart/form-data", END, "BAD_FORM"),
    "empty-boundary": ("multipart/form-data; boundary=", END, "BAD_FORM"),
    "other-boundary": ("multipart/form-data; boundary=y", part(b"one") + END, "BAD_FORM"),
    "boundary-in-the-middle": (FORM, b"a--x\r\n" + END, "NO_IMAGE"),
    "no-part": (FORM, END, "NO_IMAGE"),
    "cut-in-a-boundary": (FORM, part(b"one") + b"--x", "BAD_FORM"),
    "cut-in-a-header": (FORM, part(b"one") + b"--x\r\n" + DISPOSITION, "BAD_FORM"),
    "cut-in-a-file": (FORM, part(b"one")[:-8], "BAD_FORM"),
    "no-header": (FORM, b"--x\r\n\r\none\r\n" + END, "BAD_FORM"),
    "no-blank-line": (FORM, b"--x\r\n" + DISPOSITION + b"\r\n" + END, "BAD_FORM"),
    "header-without-colon": (FORM, b"--x\r\nnonsense\r\n\r\none\r\n" + END, "BAD_FORM"),
    "no-name": (FORM, part(b"one").replace(b"name=", b"nome=") + END, "BAD_FORM"),
    "attachment": (FORM, part(b"one").replace(b"form-data;", b"attachment;") + END, "BAD_FORM"),
    "text": (FORM, part(b"one").replace(b"filename=", b"fname=") + END, "NOT_A_FILE"),
    "other-field": (FORM, part(b"one", name=b"picture") + END, "UNKNOWN_FIELD"),
    "longest-header": (FORM, part(b"one", file=b"a" * PART_HEADER_BYTES) + END, "BAD_FORM"),
    "padding": (FORM, b"--x" + b" " * PART_HEADER_BYTES + b"\r\n" + part(b"one"), "BAD_FORM"),
    "parameters": (FORM, part(b"one", file=b"a" + b";" * 4_000 + b'"\\"') + END, ""),
    "nested": (
        "multipart/mixed; boundary=x",
        b"--x\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n" + part(b"one") + END,
        "NOT_A_FORM",
    ),
    "nested-form": (FORM, part(b"--y\r\n" + part(b"one") + b"--y--") + END, ""),
    "parts": (FORM, part(b"") * 100_000 + END, "TOO_MANY_IMAGES"),
    "empty-parts": (FORM, b"--x\r\n" * 100_000 + END, "BAD_FORM"),
    "boundaries": (FORM, part(b"\r\n--" * 100_000) + END, ""),
    "line-ends": (FORM, b"\r\n" * 200_000 + part(b"one") + END, ""),
    "boundary-of-line-ends": (
        "multipart/form-data; boundary=" + "\r" * 70,
        b"\r\n--" + b"\r" * 300_000,
        "BAD_FORM",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_form_is_refused_by_name_in_bounded_work(name: str) -> None:
    """Its lines of Python do not grow with the body: searches go over it once."""
    content_type, body, reason = MALFORMED[name]

    def parsed() -> str:
        try:
            return "" if parse_form(content_type, body) else "nothing"
        except RequestError as problem:
            assert 400 <= problem.status < 500
            return problem.reason

    result, lines = lines_run(parsed, file=sys.modules[parse_form.__module__].__file__)
    assert result == reason
    assert lines <= 50 * (IMAGES + 1)


def test_files_of_one_name_are_separate_images() -> None:
    body = part(b"one") + part(b"") + part(b"one\r\n") + END
    assert read(body) == [("a.png", b"one"), ("a.png", b""), ("a.png", b"one\r\n")]


def test_a_preamble_an_epilogue_and_padding_are_passed_over() -> None:
    body = b"for old mail readers\r\n" + part(b"one").replace(b"--x\r\n", b"--x \t\r\n") + END
    assert read(body + b"the end\r\n--x\r\n") == [("a.png", b"one")]


def test_the_most_files_are_read_and_one_more_is_refused() -> None:
    assert len(read(part(b"one") * IMAGES + END)) == IMAGES
    problem = refusal(part(b"one") * (IMAGES + 1) + END)
    assert (problem.status, problem.reason) == (413, "TOO_MANY_IMAGES")
    assert f"{IMAGES} files" in problem.detail


def test_a_large_form_is_read_beside_the_event_loop() -> None:
    content = bytes(3 * 2**20)
    assert read(part(content) + END) == [("a.png", content)]


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


PRINTABLE = "".join(map(chr, range(32, 127)))


def test_what_clients_usually_send_is_read_as_the_library_reads_it() -> None:
    random, usual = Random(0), 0
    for _ in range(3_000):
        name = "".join(random.choices(PRINTABLE, k=random.randint(1, 8)))
        disposition = f'form-data; name="images"; filename="{name}"'.encode()
        if match := requests._USUAL_FILE.fullmatch(disposition):
            usual += 1
            read = {b"name": b"images", b"filename": match[1]}
            assert parse_options_header(disposition) == (b"form-data", read)
        kind = f"multipart/form-data; boundary={name[:3]}"
        if named := requests._USUAL_KIND.fullmatch(kind):
            boundary = {b"boundary": named[1].encode()}
            assert parse_options_header(kind) == (b"multipart/form-data", boundary)
    assert usual > 1_000
