"""Untrusted bytes -> an upright 8-bit image without metadata, or a refusal with its reason.

The result is JPEG or PNG and a function of the bytes alone. A JPEG or PNG that is plain already
keeps its pixels bit by bit; everything else is decoded once and encoded anew.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core import plain_jpeg
from core.image_formats import (
    ImageRefused,
    Reason,
    bmp_colours,
    check_rows,
    check_scans,
    check_tiff,
    detect_format,
    jpeg_frames,
    jpeg_size,
    png_size,
    strip_jpeg,
    strip_png,
    webp_size,
)
from core.plain_png import plain_png

MAX_PIXELS = 2**26  # 8192 x 8192: a quarter of a GiB decoded
MAX_RLE_PIXELS = 2**22  # of a run-length encoded BMP, which Pillow decodes byte by byte in Python
USUAL_SCANS = 10  # of a progressive JPEG; each goes over the whole picture
MAX_BYTES = 2**27  # 128 MiB, read whole into memory
PREMATURE = ("premature end", "found marker 0xd9")  # libjpeg's warnings that it fills up the rest
THUMBNAIL_SIDE = 16
JPEG_QUALITY = 95  # for a JPEG that must be rotated: the loss is invisible to people and models
PNG_LEVEL = 1  # of a photo: 2.4 times as fast as the usual 6 for a seventh more bytes

__all__ = [
    "CleanImage",
    "ImageRefused",
    "InspectedImage",
    "Reason",
    "clean_image",
    "decode_image",
    "decode_inspected",
    "inspect_image",
    "too_many_bytes",
]

# Opened by class, not through Pillow's registry of 70 formats: other formats are never parsed.
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
_SCAN = b"\xff\xda"  # begins a scan of a JPEG; rare by chance anywhere else
_BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # TIFF
_SAMPLES, _PLANAR = 277, 284  # of a TIFF: colours, and 2 where each is stored apart

# Pillow warns of tags with the numbers in them, and Python keeps each text that it has shown.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class CleanImage:
    """An accepted image: its id, the bytes to store, and a thumbnail for near-duplicates."""

    sample_id: str  # SHA-256 of the bytes received
    content: bytes  # JPEG or PNG, upright, without metadata
    sha256: str  # of content
    format: str  # "JPEG" or "PNG"
    width: int
    height: int
    thumbnail: bytes  # 16x16 grey, row by row
    masked: dict[str, Any] | None = None  # by what, and where; None: nobody looked


@dataclass(frozen=True)
class InspectedImage:
    """Bytes of an image whose container was read; none of its pixels were decoded yet."""

    kind: str
    bare: bytes  # what a decoder needs of the bytes received
    exif: bytes | None
    plain: bool  # whether `bare` may be stored as it is
    work: int  # of decoding, in pixels; scans and run lengths that take longer count as more


def inspect_image(received: bytes) -> InspectedImage:
    """What the container of an image claims; `ImageRefused` when it cannot be an accepted image."""
    kind = _allowed(received)
    bare, exif, plain = _without_metadata(kind, received)
    with _refusing_damage(kind):
        return InspectedImage(kind, bare, exif, plain, _claimed_work(kind, bare))


def clean_image(received: bytes) -> CleanImage:
    """The image in `received`, decoded to its last pixel; `ImageRefused` has the reason if not.

    Deterministic, and cleaning a cleaned image changes no pixel.
    """
    inspected = inspect_image(received)
    with _refusing_damage(inspected.kind):
        upright, changed = _upright(inspected)
        stored_format = "JPEG" if inspected.kind == "JPEG" else "PNG"
        content = _encoded(upright, stored_format) if changed else inspected.bare
        thumbnail = _thumbnail(upright)
    return CleanImage(
        sample_id=hashlib.sha256(received).hexdigest(),
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        format=stored_format,
        width=upright.width,
        height=upright.height,
        thumbnail=thumbnail,
    )


def decode_inspected(inspected: InspectedImage) -> np.ndarray:
    """The pixels that `decode_image` gives of the image once it is clean, decoded only once.

    Never at a reduced scale: a model would get other pixels than those it was trained on.
    """
    with _refusing_damage(inspected.kind):
        if (pixels := _plain_pixels(inspected)) is not None:
            return pixels
        upright, changed = _upright(inspected)
        if changed and inspected.kind == "JPEG":  # stored with a loss
            return decode_image(_encoded(upright, "JPEG"))
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _whole_jpeg(picture: ImageFile, bare: bytes) -> Image.Image:
    """The picture of a JPEG decoded, or as it was opened where only Pillow decodes it.

    One whose data ends before its picture is refused: libjpeg warns of it and makes the rest grey,
    and Pillow passes the warning over. Without simplejpeg such a picture is taken.
    """
    if plain_jpeg.decode is None:
        return picture
    colours = {"RGB": "RGB", "L": "GRAY"}.get(picture.mode, "CMYK")
    try:
        pixels = plain_jpeg.decode(bare, colorspace=colours, strict=True)
    except ValueError as warning:
        if any(words in str(warning) for words in PREMATURE):
            detail = "the JPEG's data ends before its picture does; send it again, whole"
            raise ImageRefused("TRUNCATED", detail) from warning
        return picture
    if picture.mode not in ("L", "RGB"):
        return picture
    return Image.fromarray(pixels if picture.mode == "RGB" else pixels[:, :, 0])


def decode_image(content: bytes) -> np.ndarray:
    """The pixels of a `CleanImage`'s content: uint8 RGB [height, width, 3]."""
    is_jpeg = content[:2] == b"\xff\xd8"
    if is_jpeg and plain_jpeg.decode is not None:
        with suppress(ValueError):  # what it refuses, Pillow may decode, to the same pixels
            return plain_jpeg.decode(content, colorspace="RGB", strict=False)
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
    accepted = f"{', '.join(_OPENERS)} are taken"
    if is_image:
        raise ImageRefused("UNSUPPORTED", f"this is {kind}; {accepted}: convert it first")
    raise ImageRefused("NOT_AN_IMAGE", f"this is {kind}; {accepted}")


def too_many_bytes(size: int) -> ImageRefused:
    """The refusal of a file of `size` bytes, before it is read."""
    return ImageRefused(
        "TOO_MANY_BYTES", f"{size:,} bytes; {MAX_BYTES:,} are the limit: make it smaller"
    )


def _without_metadata(kind: str, received: bytes) -> tuple[bytes, bytes | None, bool]:
    """The bytes to decode, the EXIF block, and whether the bytes may be stored unchanged."""
    if kind == "JPEG":
        return strip_jpeg(received)
    if kind == "PNG":
        return strip_png(received)
    return received, None, False


@contextmanager
def _refusing_damage(kind: str) -> Iterator[None]:
    """Turn every exception of a decoder into a refusal: hostile bytes raise a dozen types."""
    try:
        yield
    except ImageRefused:
        raise
    except Exception as error:
        cause = str(error) or type(error).__name__
        if any(word in cause.lower() for word in ("unsupported", "unknown", "cannot handle")):
            raise ImageRefused("UNSUPPORTED", f"a {kind} of a kind not taken: {cause}") from error
        raise ImageRefused("TRUNCATED", f"the {kind} is cut short or damaged: {cause}") from error


def _opened(kind: str, bare: bytes) -> ImageFile:
    if kind == "WebP":  # its decoder reserves the whole canvas as soon as it is opened
        _check_pixels(*webp_size(bare))
    if kind == "BMP" and bmp_colours(bare) > 256:  # Pillow goes over as many as are claimed
        raise ImageRefused("TRUNCATED", "the BMP's header claims more than 256 palette colours")
    if kind == "TIFF":
        check_tiff(bare)
    picture = _OPENERS[kind](BytesIO(bare))
    _check_pixels(*picture.size)
    _check_parts(picture)
    return picture


def _claimed_work(kind: str, bare: bytes) -> int:
    """The pixels to decode: of the picture for each ten scans, or of a tile that is larger."""
    if kind == "PNG":
        width, height = png_size(bare)
        return width * height
    if kind == "JPEG":
        width, height = jpeg_size(bare)
        return width * height * max(1, bare.count(_SCAN) // USUAL_SCANS)
    if kind == "WebP":  # its decoder reserves the whole canvas as soon as it is opened
        width, height = webp_size(bare)
        return width * height
    picture = _opened(kind, bare)
    size = picture.width * picture.height
    if isinstance(picture, TiffImageFile):
        tags = picture.tag_v2
        return max(size, int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0)))
    slow = isinstance(picture, BmpImageFile) and _is_run_length_encoded(picture)
    return size * (MAX_PIXELS // MAX_RLE_PIXELS) if slow else size


def _upright(inspected: InspectedImage) -> tuple[Image.Image, bool]:
    """The decoded picture as people see it, and whether it differs from the bytes received."""
    if (pixels := _plain_pixels(inspected)) is not None:
        return Image.fromarray(pixels), False
    picture = plain_png(inspected.bare) if inspected.kind == "PNG" else None
    picture = picture or _decoded(inspected)
    turn = _TURNS.get(_orientation(inspected.exif or picture.info.get("exif")))
    if inspected.plain and turn is None and picture.mode in ("L", "RGB"):
        return picture, False
    upright = _flat(picture)
    return upright if turn is None else upright.transpose(turn), True


def _plain_pixels(inspected: InspectedImage) -> np.ndarray | None:
    """The pixels of an ordinary JPEG that is stored as it came; None of any other image."""
    if inspected.kind != "JPEG" or _orientation(inspected.exif) in _TURNS:
        return None
    return plain_jpeg.plain_jpeg(inspected.bare, most_pixels=MAX_PIXELS)


def _decoded(inspected: InspectedImage) -> Image.Image:
    picture: Image.Image = _opened(inspected.kind, inspected.bare)
    if isinstance(picture, JpegImageFile):
        check_scans(inspected.bare, jpeg_frames(inspected.bare))
        picture = _whole_jpeg(picture, inspected.bare)
    if inspected.kind == "PNG":
        check_rows(inspected.bare)
    picture.load()
    return picture


def _check_pixels(width: int, height: int, *, most: int = MAX_PIXELS) -> None:
    if width * height > most:
        raise ImageRefused(
            "TOO_MANY_PIXELS",
            f"{width} x {height} pixels; {most:,} are the limit: make it smaller",
        )


def _check_parts(picture: ImageFile) -> None:
    if isinstance(picture, TiffImageFile):
        tile = picture.tag_v2.get(_TILE_WIDTH, 0), picture.tag_v2.get(_TILE_LENGTH, 0)
        _check_pixels(*tile)  # one tile may be larger than the image that it is cut to
        boxes = [box for _, box, *_ in picture.tile if box]
        covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        if covered < picture.width * picture.height:  # Pillow would leave the rest black
            raise ImageRefused("TRUNCATED", "the TIFF has strips for a part of its picture only")
        if covered > picture.width * picture.height * _planes(picture):  # all would be decoded
            raise ImageRefused("UNSUPPORTED", "the TIFF has more strips than its picture")
    if isinstance(picture, BmpImageFile) and _is_run_length_encoded(picture):
        _check_pixels(*picture.size, most=MAX_RLE_PIXELS)
    if getattr(picture, "is_animated", False):
        raise ImageRefused(
            "ANIMATED", "several frames or pages; save the one that counts by itself"
        )


def _planes(picture: TiffImageFile) -> int:
    """How often the strips of a TIFF go over its picture: once for each colour stored apart."""
    tags = picture.tag_v2
    return int(tags.get(_SAMPLES, 1)) if tags.get(_PLANAR) == 2 else 1


def _is_run_length_encoded(picture: BmpImageFile) -> bool:
    return bool(picture.tile) and picture.tile[0][0] == "bmp_rle"


def _orientation(exif: bytes | None) -> int:
    """The EXIF orientation; a block that cannot be read counts as none."""
    if not exif:
        return 1
    try:
        tags = Image.Exif()
        tags.load(exif)
        return int(tags.get(_ORIENTATION, 1))
    except Exception:  # errors in EXIF are frequent and do not affect the pixels
        return 1


def _flat(picture: Image.Image) -> Image.Image:
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


def _from_16_bit(picture: Image.Image) -> Image.Image:
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    depth = tags.get(_BITS, (16,))[0]  # Pillow gives 12-bit values in the same mode
    grey = (np.asarray(picture).astype(np.uint16) >> (depth - 8)).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)


def _from_float(picture: Image.Image) -> Image.Image:
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
    """The picture encoded anew, without the metadata that Pillow writes from `info`."""
    buffer = BytesIO()
    if kind == "JPEG":
        upright.save(buffer, kind, quality=JPEG_QUALITY, subsampling=0)
        return strip_jpeg(buffer.getvalue())[0]
    upright.save(buffer, kind, compress_level=PNG_LEVEL)
    return strip_png(buffer.getvalue())[0]


def _thumbnail(upright: Image.Image) -> bytes:
    """16x16 grey by area, nearly equal for all sizes of a picture; smaller ones are enlarged."""
    tiny = min(upright.size) < THUMBNAIL_SIDE
    method = Image.Resampling.BICUBIC if tiny else Image.Resampling.BOX
    small = upright.resize(
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE), method, reducing_gap=None if tiny else 2.0
    )
    return small.convert("L").tobytes()
