"""What a file is by its first bytes, and what stays of a JPEG or PNG."""

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.image_formats import ImageRefused, detect_format, strip_jpeg, strip_png, webp_size


def written(format: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 24)).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    ("format", "kind"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP"), ("BMP", "BMP"), ("TIFF", "TIFF"),
     ("GIF", "GIF"), ("ICO", "ICO"), ("JPEG2000", "JPEG 2000")],
)  # fmt: skip
def test_images_are_known_by_their_first_bytes(format: str, kind: str) -> None:
    assert detect_format(written(format)) == (kind, True)


@given(st.binary(max_size=64))
def test_whatever_the_bytes_are_they_have_a_kind(received: bytes) -> None:
    kind, _ = detect_format(received)
    assert kind


@pytest.mark.parametrize(("mode", "kept"), [("RGB", b"JFIF"), ("CMYK", b"Adobe")])
def test_a_bare_jpeg_says_how_its_colours_are_meant(mode: str, kept: bytes) -> None:
    received = written("JPEG", mode)
    bare, _, _ = strip_jpeg(received)
    assert kept in bare
    pair = [Image.open(io.BytesIO(one)).tobytes() for one in (received, bare)]
    assert pair[0] == pair[1]


def test_a_thumbnail_in_the_jfif_segment_goes() -> None:
    whole = written("JPEG")
    thumbnail = segment(0xE0, b"JFIF\0\1\2\1\0H\0H\2\2" + b"face" * 3)
    bare, _, _ = strip_jpeg(whole[:2] + thumbnail + whole[20:])
    assert b"face" not in bare
    assert bare == strip_jpeg(whole)[0]


def test_a_bare_jpeg_is_bare_already() -> None:
    bare, _, _ = strip_jpeg(written("JPEG", progressive=True, comment=b"note"))
    assert strip_jpeg(bare) == (bare, None, True)


def test_fill_bytes_and_litter_between_segments_go() -> None:
    whole = written("JPEG")
    assert strip_jpeg(whole[:20] + b"\xff\xff\xff" + whole[20:])[0] == strip_jpeg(whole)[0]
    assert strip_jpeg(whole[:20] + b"litter" + whole[20:])[0] == strip_jpeg(whole)[0]


def test_a_jpeg_with_restart_markers_keeps_them() -> None:
    whole = written("JPEG", restart_marker_blocks=1)
    assert b"\xff\xd0" in whole
    assert strip_jpeg(whole)[0].endswith(whole[whole.index(b"\xff\xda") :])


def test_only_the_first_exif_block_counts() -> None:
    whole = written("JPEG")
    blocks = segment(0xE1, b"Exif\0\0first") + segment(0xE1, b"Exif\0\0second")
    assert strip_jpeg(whole[:2] + blocks + whole[2:])[1] == b"first"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_plain_png_may_be_kept(mode: str) -> None:
    bare, exif, plain = strip_png(written("PNG", mode))
    assert (exif, plain) == (None, True)
    assert strip_png(bare) == (bare, None, True)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_any_other_png_may_not(mode: str) -> None:
    assert strip_png(written("PNG", mode))[2] is False


def test_a_png_that_does_not_begin_with_its_header_is_refused() -> None:
    whole = written("PNG")
    with pytest.raises(ImageRefused, match="does not begin with its header"):
        strip_png(whole[:8] + whole[33:])


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_read_from_its_header(options: dict[str, Any]) -> None:
    whole = written("WEBP", **options)
    assert webp_size(whole) == (40, 24)
    with pytest.raises(ImageRefused, match="header"):
        webp_size(whole[:22])
