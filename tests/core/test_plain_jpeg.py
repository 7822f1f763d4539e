"""The short way of an ordinary JPEG gives what the long one gives, refusals and all."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from core import plain_jpeg
from core.images import ImageRefused, clean_image, decode_inspected, inspect_image

MOST = 2**20
MUTATED = 4_000  # files; 300,000 were compared when this was written


def written(picture: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def photo(mode: str = "RGB", side: int = 24) -> Image.Image:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return picture.resize((side, side + 8), Image.Resampling.BICUBIC).convert(mode)


ORDINARY = [
    written(photo(), quality=quality, subsampling=subsampling, progressive=progressive)
    for quality in (30, 95) for subsampling in (0, 2) for progressive in (False, True)
]  # fmt: skip


def outcome(received: bytes) -> "np.ndarray | str":
    try:
        return decode_inspected(inspect_image(received))
    except ImageRefused as refused:
        return refused.reason


def mutated(rng: np.random.Generator) -> Iterator[bytes]:
    """Files with bytes changed, left out, put in, or a part of another file in their place."""
    for number in range(MUTATED):
        content = bytearray(ORDINARY[number % len(ORDINARY)])
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(2, min(len(content), 700)))
            how = int(rng.integers(5))
            if how == 0:
                content[at] ^= 1 << int(rng.integers(8))
            elif how == 1:
                content[at] = int(rng.choice([0, 1, 2, 3, 4, 8, 12, 0xC0, 0xC2, 0xD9, 0xDA, 0xFF]))
            elif how == 2:
                del content[at : at + int(rng.integers(1, 9))]
            elif how == 3:
                content[at:at] = rng.bytes(int(rng.integers(1, 5)))
            else:
                other = ORDINARY[int(rng.integers(len(ORDINARY)))]
                content[at : at + 40] = other[at : at + int(rng.integers(60))]
        yield bytes(content)


@pytest.mark.parametrize("content", ORDINARY)
def test_an_ordinary_jpeg_takes_the_short_way_to_the_same_pixels(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = plain_jpeg.plain_jpeg(inspect_image(content).bare, most_pixels=MOST)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, outcome(content))
    cleaned = clean_image(content)
    monkeypatch.setattr(plain_jpeg, "plain_jpeg", lambda *_, **__: None)
    np.testing.assert_array_equal(pixels, outcome(content))
    assert clean_image(content) == cleaned


def test_others_take_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = inspect_image(ORDINARY[0]).bare
    for mode in ("L", "CMYK"):
        other = inspect_image(written(photo(mode))).bare
        assert plain_jpeg.plain_jpeg(other, most_pixels=MOST) is None
    assert plain_jpeg.plain_jpeg(bare, most_pixels=24 * 32 - 1) is None
    assert plain_jpeg.plain_jpeg(bare[:-20] + b"\xff\xd9", most_pixels=MOST) is None
    turned = photo()
    exif = Image.Exif()
    exif[0x0112] = 6
    assert clean_image(written(turned, exif=exif)).width == 32  # and not 24
    monkeypatch.setattr(plain_jpeg, "decode", None)  # where simplejpeg has no wheel
    assert plain_jpeg.plain_jpeg(bare, most_pixels=MOST) is None


def test_damaged_files_end_the_same_on_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(mutated(np.random.default_rng(5)))
    short = [outcome(one) for one in files]
    monkeypatch.setattr(plain_jpeg, "plain_jpeg", lambda *_, **__: None)
    for content, mine in zip(files, short, strict=True):
        other = outcome(content)
        assert type(mine) is type(other), content.hex()
        assert np.array_equal(mine, other), content.hex()
    decoded = sum(not isinstance(one, str) for one in short)
    assert 0.05 * MUTATED < decoded < 0.95 * MUTATED
