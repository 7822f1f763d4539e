"""A PNG that is decompressed once has Pillow's pixels, and all else is left to Pillow."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from core import plain_png as module
from core.image_formats import ImageRefused, strip_png
from core.images import clean_image, decode_inspected, inspect_image
from core.plain_png import plain_png

RNG = np.random.default_rng(0)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def made(
    rows: bytes, size: tuple[int, int] = (4, 3), *, methods: bytes = b"\0\0\0", data: bytes = b""
) -> bytes:
    """A grey PNG of these filtered rows, or of these compressed data."""
    head = struct.pack(">IIBB", *size, 8, 0) + methods
    packed = data or zlib.compress(rows)
    middle = chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", b"") + chunk(b"IDAT", packed[5:])
    return SIGNATURE + chunk(b"IHDR", head) + middle + chunk(b"IEND", b"")


WHOLE = b"".join(bytes((kind, *range(40, 44))) for kind in (0, 1, 2))


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (200, 150, 3), (33, 65), (1, 1)])
def test_the_picture_is_pillows(shape: tuple[int, ...]) -> None:
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256
    base = smooth if len(shape) == 2 else np.repeat(smooth[..., None], 3, 2)
    for pixels in (base.astype(np.uint8), RNG.integers(0, 256, shape, np.uint8)):
        content = encoded(pixels)
        picture = plain_png(strip_png(content)[0])
        assert picture is not None
        assert np.array_equal(np.asarray(picture), pixels)
        assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(content))))


def test_every_filter_is_reversed() -> None:
    rows = b"".join(bytes((kind, *RNG.integers(0, 256, 60))) for kind in (0, 1, 2, 3, 4) * 4)
    content = made(rows, (60, 20))
    picture = plain_png(content)
    assert picture is not None
    assert picture.tobytes() == Image.open(io.BytesIO(content)).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        made(WHOLE[:-1]),
        made(WHOLE + b"\0"),
        made(WHOLE, data=zlib.compress(WHOLE) + b"more"),
        made(WHOLE, data=zlib.compress(WHOLE)[:-1]),
        made(WHOLE, data=zlib.compress(WHOLE)[:-1] + b"x"),
        made(b"\x05" + WHOLE[1:]),
        made(WHOLE, methods=b"\0\0\x01"),
        made(WHOLE, (0, 3)),
        made(b"", data=b"no data"),
    ],
    ids=["short", "long", "behind the end", "no checksum", "wrong checksum", "unknown filter",
         "interlaced", "no columns", "not compressed"],
)  # fmt: skip
def test_what_is_unusual_or_damaged_is_left_to_pillow(content: bytes) -> None:
    assert plain_png(content) is None


def test_other_pixels_and_large_pictures_are_left_to_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = RNG.integers(0, 256, (9, 9, 4), np.uint8)
    assert plain_png(strip_png(encoded(pixels))[0]) is None
    palette = io.BytesIO()
    Image.fromarray(pixels[..., :3]).quantize(8).save(palette, "PNG")
    assert plain_png(strip_png(palette.getvalue())[0]) is None
    content = strip_png(encoded(pixels[..., :3]))[0]
    assert plain_png(content) is not None
    monkeypatch.setattr(module, "MOST_BYTES", 9 * 28 - 1)
    assert plain_png(content) is None


def test_the_whole_way_gives_the_same_pixels_and_the_same_refusals() -> None:
    content = made(WHOLE)
    assert decode_inspected(inspect_image(content)).shape == (3, 4, 3)
    assert clean_image(content).content == content
    for damaged in (made(WHOLE[:-1]), made(b"\x05" + WHOLE[1:])):
        with pytest.raises(ImageRefused, match="TRUNCATED"):
            clean_image(damaged)
