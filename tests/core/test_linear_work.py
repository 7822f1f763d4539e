"""Work on untrusted bytes grows with their number: counted, on hostile and on random containers."""

import ast
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core import image_formats
from core.image_formats import (
    MAX_CHUNKS,
    MAX_PARTS,
    MAX_SEGMENTS,
    MAX_TAGS,
    ImageRefused,
    detect_format,
    strip_jpeg,
    strip_png,
    webp_size,
)
from core.images import MAX_RLE_PIXELS, CleanImage, clean_image, inspect_image
from tests.counted_work import lines_run
from tests.source_code import name_of, sources, tree_of

HOSTILE_JPEG = b"\xff\xd8" + b"\xff" * 300_000
BYTES_PER_BYTE = 8  # examined for each byte received: two searches of two bytes, and three copies
LINES_PER_BYTE = 40  # of Python for each byte received; with LINES more for the fixed work
LINES = 20_000
SEARCHING = {"search", "finditer", "findall", "sub", "subn", "split"}
# Patterns with a repeat before their end that are linear nevertheless: the repeat stops at the
# character that the pattern begins with.
LINEAR = {r"<[^<>]*>"}


class CountedBytes(bytes):
    """Bytes that count how many of them are read by index and by slice."""

    examined = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.examined += len(part) if isinstance(key, slice) else 1
        return part


class CountedPattern:
    """A pattern of fixed length that counts the bytes a search of it examines."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        least, most = widths(pattern.pattern)
        assert least == most, f"{pattern.pattern!r} has no fixed length"
        self.pattern, self.width = pattern, least

    def search(self, received: bytes, start: int) -> re.Match[bytes] | None:
        match = self.pattern.search(received, start)
        if isinstance(received, CountedBytes):
            received.examined += self.width * ((match.end() if match else len(received)) - start)
        return match


def widths(pattern: str | bytes) -> tuple[int, int]:
    """The least and the largest number of characters that a pattern matches."""
    least, most = re._parser.parse(pattern).getwidth()  # type: ignore[attr-defined]
    return int(least), int(most)


@pytest.fixture(autouse=True, scope="module")
def counted_patterns() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_MARKER", "_SCAN_END"):
            patch.setattr(image_formats, name, CountedPattern(getattr(image_formats, name)))
        yield


def outcome(parse: Callable[[bytes], object], received: bytes) -> tuple[object, int]:
    """The result or the refusal of a parser, and how many bytes it examined."""
    counted = CountedBytes(received)
    try:
        return parse(counted), counted.examined
    except ImageRefused as refusal:
        return refusal, counted.examined


def segment(code: int, body: bytes = b"") -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def written(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(buffer, format, **options)
    return buffer.getvalue()


JPEG, PNG = written("JPEG"), written("PNG")
START = PNG[:33]  # signature and header


def bmp_rle(width: int, height: int) -> bytes:
    """A BMP of one pixel in each row, the rest of which Pillow fills up pixel by pixel."""
    palette, rows = bytes(1024), b"\x01\x00\x00\x00" * 64
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


@pytest.mark.parametrize(
    "received",
    [
        HOSTILE_JPEG,
        HOSTILE_JPEG + b"\x00",
        JPEG[:-2] + b"\xff" * 300_000,
        JPEG[:2] + b"\xff" * 300_000 + JPEG[2:],
        JPEG[:2] + b"\xff\x00" * 150_000,
        JPEG[:2] + b"\xff\xd8" * 150_000,
        JPEG[:2] + segment(0xE0) * 75_000,
        JPEG[:2] + segment(0xDA) * 75_000,
        JPEG[:2] + (segment(0xDA) + b"\xff" * 1_000) * 90 + b"\xff\xd9",
    ],
    ids=["fill", "fill-0", "end", "start", "stuffing", "markers", "segments", "scans", "fills"],
)
def test_a_hostile_jpeg_is_parsed_in_linear_work(received: bytes) -> None:
    _, examined = outcome(strip_jpeg, received)
    assert examined <= BYTES_PER_BYTE * len(received)


def test_the_file_that_stopped_the_service_is_refused() -> None:
    with pytest.raises(ImageRefused) as refused:
        clean_image(HOSTILE_JPEG)
    assert refused.value.reason == "TRUNCATED"


def test_fill_bytes_before_a_marker_are_dropped() -> None:
    filled = JPEG[:-2] + b"\xff" * 1_000 + JPEG[-2:]
    assert strip_jpeg(filled) == strip_jpeg(JPEG)


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    fitting = JPEG[:2] + segment(0xE1) * (MAX_SEGMENTS - 20) + JPEG[2:]
    assert strip_jpeg(fitting)[0] == strip_jpeg(JPEG)[0]
    refusal, _ = outcome(strip_jpeg, JPEG[:2] + segment(0xE1) * MAX_SEGMENTS + JPEG[2:])
    assert isinstance(refusal, ImageRefused) and refusal.reason == "UNSUPPORTED"


def test_a_png_of_endless_chunks_is_refused() -> None:
    fitting = START + chunk(b"teXt", b"") * (MAX_CHUNKS - 20) + PNG[33:]
    bare, examined = outcome(strip_png, fitting)
    assert bare == strip_png(PNG) and examined <= BYTES_PER_BYTE * len(fitting)
    refusal, _ = outcome(strip_png, START + chunk(b"teXt", b"") * MAX_CHUNKS + PNG[33:])
    assert isinstance(refusal, ImageRefused) and refusal.reason == "UNSUPPORTED"


def tiff_of_strips(count: int, *, tags: int = 0, order: str = "<", big: bool = False) -> bytes:
    """A grey TIFF of 8 x 8 pixels whose strips all hold its upper half."""
    magic = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    kind, head = (
        ("Q", struct.pack(order + "HHQ", 8, 0, 16)) if big else ("L", struct.pack(order + "L", 8))
    )
    described = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (277, 1), (278, 4)]
    described += [(40_000 + number, 1) for number in range(tags)]
    entries = len(described) + 2
    start = 4 + len(head) + struct.calcsize(order + ("Q" if big else "H"))
    places = start + entries * (20 if big else 12) + (8 if big else 4)
    pixels = places + 4 * count
    listed = {name: struct.pack(order + "HH" + kind, name, 4, count) for name in (273, 279)}
    small = order + "HH" + kind + ("H6x" if big else "H2x")
    rows = {name: struct.pack(small, name, 3, 1, value) for name, value in described}
    rows |= {name: text + struct.pack(order + kind, places) for name, text in listed.items()}
    directory = struct.pack(order + ("Q" if big else "H"), entries)
    directory += b"".join(rows[name] for name in sorted(rows)) + bytes(8 if big else 4)
    offsets = struct.pack(f"{order}{count}L", *[pixels] * count)
    return magic + head + directory + offsets + b"\x80" * 32


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_endless_strips_or_tags_is_refused(order: str, big: bool) -> None:
    """2 MB of them took 280 MB of memory and 5.7 seconds, 32 MB a service."""

    def of(count: int, tags: int = 0) -> bytes:
        return tiff_of_strips(count, tags=tags, order=order, big=big)

    assert clean_image(of(2, tags=90)).height == 8
    hostile = {MAX_PARTS + 1: "strips or tiles", 3: "more strips than its picture"}
    for count, said in hostile.items():
        for parse in (inspect_image, clean_image):
            with pytest.raises(ImageRefused, match=said):
                parse(of(count))
    with pytest.raises(ImageRefused, match="tags"):
        inspect_image(of(2, tags=MAX_TAGS))
    for cut in (4, 9, 40):
        with pytest.raises(ImageRefused, match="TRUNCATED"):
            inspect_image(of(2)[:cut])


def test_a_run_length_encoded_bmp_is_small_or_refused() -> None:
    assert (clean_image(bmp_rle(300, 64)).width, MAX_RLE_PIXELS) == (300, 2**22)
    assert inspect_image(bmp_rle(300, 64)).work == 300 * 64 * 16  # decoded in Python
    with pytest.raises(ImageRefused) as refused:
        clean_image(bmp_rle(2**20, 64))
    assert refused.value.reason == "TOO_MANY_PIXELS"


pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\xff", b"\x00", b"\xff\x00", b"\xff\xd9", b"\xff\xd0", b"\xff\xda"]),
    st.builds(segment, st.integers(0, 255), st.binary(max_size=12)),
    st.builds(chunk, st.sampled_from([b"IDAT", b"tEXt", b"IEND", b"IHDR"]), st.binary(max_size=12)),
    st.integers(1, 400).map(lambda count: b"\xff" * count),
)
starts = st.sampled_from(
    [b"\xff\xd8", START, JPEG, PNG, JPEG[:200], PNG[:60], b"\x89PNG\r\n\x1a\n", b"", b"BM"]
)


@settings(max_examples=300, deadline=None)
@given(starts, st.lists(pieces, max_size=40).map(b"".join))
def test_parsing_any_container_takes_linear_work_and_ends_in_bytes_or_a_refusal(
    start: bytes, rest: bytes
) -> None:
    received = start + rest
    for parse in (strip_jpeg, strip_png, webp_size, detect_format):
        _, examined = outcome(parse, received)
        assert examined <= BYTES_PER_BYTE * len(received) + 1_000


@st.composite
def damaged(draw: st.DrawFn, wholes: list[bytes]) -> bytes:
    """A whole image with parts overwritten, doubled, or cut off."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content) - 1))
        change = draw(st.sampled_from(["write", "double", "cut", "fill"]))
        if change == "write":
            patch = draw(st.binary(min_size=1, max_size=8))
            content[at : at + len(patch)] = patch
        elif change == "double":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif change == "fill":
            content[at:at] = b"\xff" * draw(st.integers(1, 200))
        else:
            del content[at : at + draw(st.integers(1, 64))]
        content = content or bytearray(b"\x00")
    return bytes(content)


WHOLES = [
    JPEG,
    PNG,
    written("JPEG", progressive=True, exif=Image.Exif()),
    written("WEBP", lossless=True),
    written("WEBP"),
    written("BMP"),
    bmp_rle(30, 20),
    written("TIFF"),
    written("TIFF", compression="tiff_lzw"),
    written("TIFF", compression="tiff_adobe_deflate"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the tags of a TIFF
@settings(max_examples=300, deadline=None)
@given(damaged(WHOLES))
def test_a_damaged_image_takes_linear_work_and_is_a_sample_or_a_refusal(received: bytes) -> None:
    def clean() -> CleanImage | ImageRefused:
        try:
            return clean_image(received)
        except ImageRefused as refusal:
            return refusal

    result, lines = lines_run(clean)
    assert isinstance(result, CleanImage | ImageRefused)
    assert lines <= LINES + LINES_PER_BYTE * len(received)


def patterns_that_search() -> Iterator[tuple[str, str | bytes]]:
    """File and text of every pattern in the source that is searched for at any position."""
    for path in sources():
        tree = tree_of(path)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        methods: dict[str, set[str]] = {}
        for call in calls:
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                methods.setdefault(call.func.value.id, set()).add(call.func.attr)
        named = {
            id(node.value): node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for call in calls:
            function = ast.unparse(call.func)
            if not function.startswith("re.") or not isinstance(call.args[0], ast.Constant):
                continue
            used = methods.get(named.get(id(call), ""), SEARCHING)
            searches = used & SEARCHING if function == "re.compile" else {function[3:]} & SEARCHING
            if searches and isinstance(call.args[0].value, str | bytes):
                yield name_of(path), call.args[0].value


def takes_quadratic_work(pattern: str | bytes) -> bool:
    """Whether a search may try an unbounded repeat at each position and fail after it."""
    if pattern in LINEAR:
        return False
    parts = list(re._parser.parse(pattern))  # type: ignore[attr-defined]
    if parts and parts[0][0] is re._constants.AT:  # type: ignore[attr-defined]
        return False  # anchored at the beginning
    unbounded = [
        place
        for place, (kind, argument) in enumerate(parts)
        if kind in re._parser._REPEATCODES  # type: ignore[attr-defined]
        and argument[1] is re._constants.MAXREPEAT  # type: ignore[attr-defined]
    ]
    nested = any(text in repr(part) for part in parts for text in ("MAXREPEAT, [(MAX_REPEAT",))
    return nested or any(place < len(parts) - 1 for place in unbounded)


def test_no_pattern_searches_in_quadratic_time() -> None:
    searched = list(patterns_that_search())
    assert ("core/image_formats.py", rb"\xff[^\x00\xff]") in searched
    assert [one for one in searched if takes_quadratic_work(one[1])] == []


@pytest.mark.parametrize("pattern", [rb"\xff+[^\x00\xff]", r"<[^>]*>", r"(a+)+b"])
def test_a_pattern_that_backtracks_over_its_input_is_noticed(pattern: str | bytes) -> None:
    assert takes_quadratic_work(pattern)


@pytest.mark.parametrize("pattern", [r"\s+", r"^[a-z]+:", rb"[0-9a-f]{16} \{", r"<[^<>]*>"])
def test_a_pattern_of_fixed_length_or_with_its_repeat_last_is_linear(pattern: str | bytes) -> None:
    assert not takes_quadratic_work(pattern)
