"""Bytes that strangers send -> an upright 8-bit image without metadata, or a refusal that says why.

What comes out is JPEG or PNG, and the same bytes always give the same answer. A JPEG or PNG that
is already plain keeps its pixels to the last bit; everything else is decoded once and written anew.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core.image_formats import (
    ImageRefused,
    Reason,
    check_rows,
    detect_format,
    strip_jpeg,
    strip_png,
    webp_size,
)

MAX_PIXELS = 2**26  # 8192 x 8192: a quarter of a GiB decoded; larger is a bomb or a map
MAX_BYTES = 2**27  # 128 MiB, read whole into memory
LOOK_SIDE = 16
JPEG_QUALITY = (
    95  # for a JPEG that must be turned: what is lost is below what the eye or a model sees
)
PNG_LEVEL = 1  # of a photo: 2.4 times as fast as the usual 6 for a seventh more bytes

__all__ = ["CleanImage", "ImageRefused", "Reason", "clean_image", "decode_image", "too_many_bytes"]

# Opened by class, not through Pillow's registry of 70 formats: what is not here is never parsed.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 274  # EXIF
_BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # TIFF


@dataclass(frozen=True)
class CleanImage:
    """An accepted image: who it is, the bytes to keep, and a thumbnail to compare it by."""

    sample_id: str  # SHA-256 of the bytes received
    content: bytes  # JPEG or PNG, upright, without metadata
    sha256: str  # of content
    format: str  # "JPEG" or "PNG"
    width: int
    height: int
    thumbnail: bytes  # 16x16 grey, row by row


def clean_image(received: bytes) -> CleanImage:
    """The image in `received`, checked to its last pixel; `Refused` says why it is not taken.

    Deterministic, and cleaning what was cleaned changes no pixel.
    """
    kind = _allowed(received)
    bare, exif, plain = _without_metadata(kind, received)
    with _refusing_damage(kind):
        picture = _decoded(kind, bare)
        turn = _TURNS.get(_orientation(exif or picture.info.get("exif")))
        upright: Image.Image = picture
        kept_as = "JPEG" if kind == "JPEG" else "PNG"
        if not plain or turn is not None or picture.mode not in ("L", "RGB"):
            upright = _flat(picture)
            upright = upright if turn is None else upright.transpose(turn)
            bare = _encoded(upright, kept_as)
        look = _look(upright)
    return CleanImage(
        sample_id=hashlib.sha256(received).hexdigest(),
        content=bare,
        sha256=hashlib.sha256(bare).hexdigest(),
        format=kept_as,
        width=upright.width,
        height=upright.height,
        thumbnail=look,
    )


def _jpeg_decoder() -> Callable[[bytes], np.ndarray] | None:
    """One that gives Pillow's pixels in a fifth of the time; None where it is not installed."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    return partial(decode_jpeg, colorspace="RGB", strict=False)


_decode_jpeg = _jpeg_decoder()


def decode_image(content: bytes) -> np.ndarray:
    """Height x width x 3 of uint8 RGB, from bytes that `clean` made."""
    is_jpeg = content[:2] == b"\xff\xd8"
    if is_jpeg and _decode_jpeg is not None:
        with suppress(ValueError):  # what it does not take, Pillow may; the pixels are the same
            return _decode_jpeg(content)
    opener = JpegImageFile if is_jpeg else PngImageFile
    return np.asarray(opener(BytesIO(content)).convert("RGB"))


def _allowed(received: bytes) -> str:
    if not received:
        raise ImageRefused("EMPTY", "the file has no bytes")
    if len(received) > MAX_BYTES:
        raise too_many_bytes(len(received))
    kind, is_image = detect_format(received)
    if kind in _OPENERS:
        return kind
    taken = f"{', '.join(_OPENERS)} are taken"
    if is_image:
        raise ImageRefused("UNSUPPORTED", f"this is {kind}; {taken}: convert it first")
    raise ImageRefused("NOT_AN_IMAGE", f"this is {kind}; {taken}")


def too_many_bytes(size: int) -> ImageRefused:
    """The refusal of a file of `size` bytes, which need not be read for it."""
    return ImageRefused(
        "TOO_MANY_BYTES", f"{size:,} bytes; {MAX_BYTES:,} are the limit: make it smaller"
    )


def _without_metadata(kind: str, received: bytes) -> tuple[bytes, bytes | None, bool]:
    """What is left to decode, the EXIF found on the way, and whether the rest may be kept as is."""
    if kind == "JPEG":
        return strip_jpeg(received)
    if kind == "PNG":
        return strip_png(received)
    if kind == "WebP":  # its decoder reserves the whole canvas as soon as it is opened
        _check_pixels(*webp_size(received))
    return received, None, False


@contextmanager
def _refusing_damage(kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a refusal: on hostile bytes that is a dozen types."""
    try:
        yield
    except ImageRefused:
        raise
    except Exception as error:
        said = str(error) or type(error).__name__
        if any(word in said.lower() for word in ("unsupported", "unknown", "cannot handle")):
            raise ImageRefused("UNSUPPORTED", f"a {kind} of a kind not taken: {said}") from error
        raise ImageRefused("TRUNCATED", f"the {kind} is cut short or damaged: {said}") from error


def _decoded(kind: str, bare: bytes) -> ImageFile:
    picture = _OPENERS[kind](BytesIO(bare))
    _check_pixels(*picture.size)
    _check_parts(picture)
    if kind == "PNG":
        check_rows(bare)
    picture.load()
    return picture


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageRefused(
            "TOO_MANY_PIXELS",
            f"{width} x {height} pixels; {MAX_PIXELS:,} are the limit: make it smaller",
        )


def _check_parts(picture: ImageFile) -> None:
    if isinstance(picture, TiffImageFile):
        tile = picture.tag_v2.get(_TILE_WIDTH, 0), picture.tag_v2.get(_TILE_LENGTH, 0)
        _check_pixels(*tile)  # one tile may be larger than the image that it is cut to
        boxes = [box for _, box, *_ in picture.tile if box]
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if covered < picture.width * picture.height:  # Pillow would leave the rest black
            raise ImageRefused("TRUNCATED", "the TIFF has strips for a part of its picture only")
    if getattr(picture, "is_animated", False):
        raise ImageRefused(
            "ANIMATED", "several frames or pages; save the one that counts by itself"
        )


def _orientation(exif: bytes | None) -> int:
    """The EXIF orientation; a block that cannot be read counts as none."""
    if not exif:
        return 1
    try:
        found = Image.Exif()
        found.load(exif)
        return int(found.get(_ORIENTATION, 1))
    except Exception:  # EXIF is full of mistakes, none of which hurts the pixels
        return 1


def _flat(picture: ImageFile) -> Image.Image:
    """The picture in 8-bit grey or RGB: depth scaled by its full range, transparency on white."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return _from_16_bit(picture)
    if mode == "F":
        return _from_float(picture)
    if picture.has_transparency_data:
        opaque = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(opaque, picture.convert("RGBA")).convert("RGB")
    if mode in ("1", "L"):
        return picture.convert("L")
    if mode in ("P", "RGB", "CMYK", "YCbCr"):
        return picture.convert("RGB")
    raise ImageRefused(
        "UNSUPPORTED", f"pixel mode {mode} has no defined range; save it with 8 bits"
    )


def _from_16_bit(picture: ImageFile) -> Image.Image:
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    depth = tags.get(_BITS, (16,))[0]  # Pillow gives 12-bit values in the same mode
    grey = (np.asarray(picture).astype(np.uint16) >> (depth - 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)


def _from_float(picture: ImageFile) -> Image.Image:
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:  # also when there is a NaN
        raise ImageRefused(
            "UNSUPPORTED",
            f"float values from {low:g} to {high:g}; only 0 to 1 has a defined meaning: "
            "scale them, or save 8 or 16 bits",
        )
    return Image.fromarray(np.round(values * 255).astype(np.uint8))


def _encoded(upright: Image.Image, kind: str) -> bytes:
    """The picture written anew, bare: Pillow would write again what it found in `info`."""
    buffer = BytesIO()
    if kind == "JPEG":
        upright.save(buffer, kind, quality=JPEG_QUALITY, subsampling=0)
        return strip_jpeg(buffer.getvalue())[0]
    upright.save(buffer, kind, compress_level=PNG_LEVEL)
    return strip_png(buffer.getvalue())[0]


def _look(upright: Image.Image) -> bytes:
    """16x16 grey by area, which every size of the same picture shares; tiny ones are drawn up."""
    tiny = min(upright.size) < LOOK_SIDE
    way = Image.Resampling.BICUBIC if tiny else Image.Resampling.BOX
    small = upright.resize((LOOK_SIDE, LOOK_SIDE), way, reducing_gap=None if tiny else 2.0)
    return small.convert("L").tobytes()
