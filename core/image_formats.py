"""The format of a file by its first bytes, and JPEG and PNG reduced to what a decoder needs.

The bytes are untrusted. Each parser goes over them once, front to back: patterns have a fixed
length, so that a search examines each byte once or twice, and the number of segments is bounded.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

MAX_SCANS = 100  # a progressive JPEG has about ten; thousands keep a decoder busy for minutes
MAX_SEGMENTS = 10_000  # of a JPEG: 100 scans with tables, and 128 MiB of metadata in 64 KiB parts
MAX_CHUNKS = 100_000  # of a PNG: 128 MiB in parts of 8 KiB are 16,384
MAX_TAGS = 4_096  # of a TIFF; cameras and scanners write about a hundred
MAX_PARTS = 2**16  # strips or tiles of a TIFF: 8192 x 8192 pixels in tiles of 32 x 32

_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_OTHERS: tuple[tuple[bytes, str, bool], ...] = (  # first bytes, name, is it an image
    (b"GIF8", "GIF", True),
    (b"8BPS", "Photoshop", True),
    (b"\x00\x00\x01\x00", "ICO", True),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000", True),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL", True),
    (b"\xff\x0a", "JPEG XL", True),
    (b"<svg", "SVG", True),
    (b"<?xml", "XML", False),
    (b"<!doctype html", "HTML", False),
    (b"<html", "HTML", False),
    (b"%pdf", "PDF", False),
    (b"pk\x03\x04", "a ZIP archive", False),
    (b"\x1f\x8b", "a gzip archive", False),
)
_PICTURES_IN_FTYP = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF"}

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # that a decoder needs
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_TIFF_PARTS = (273, 324)  # tags with the places of a TIFF's strips, or of its tiles
_LACES = (  # the seven passes of an interlaced PNG: first column and row, steps between them
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"  # no density, no thumbnail
# Two bytes each: with a repeat (`\xff+`) a search starts anew at each of n fill bytes, n^2 steps.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # codes of a JPEG's frame headers
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # the usual ones: not lossless, not coded arithmetically

Reason = Literal[
    "EMPTY",
    "NOT_AN_IMAGE",
    "NOT_MASKED",
    "TRUNCATED",
    "TOO_MANY_PIXELS",
    "TOO_MANY_BYTES",
    "ANIMATED",
    "UNSUPPORTED",
    "UNREADABLE",  # this and the next are of files, not of their bytes
    "CHANGED",
]


class ImageRefused(ValueError):
    """An image that is refused: `reason` is one of `Reason`, `detail` a sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # as they came: an exception is pickled by its arguments
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def detect_format(received: bytes) -> tuple[str, bool]:
    """The name of the format that the first bytes belong to, and whether it is an image format."""
    if received.startswith(b"\xff\xd8"):
        return "JPEG", True
    if received.startswith(_PNG[:4]):
        return "PNG", True
    if received[:4] == b"RIFF" and received[8:12] == b"WEBP":
        return "WebP", True
    if received[:2] == b"BM" and int.from_bytes(received[14:18], "little") in _BMP_HEADERS:
        return "BMP", True
    if received[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF", True
    return _other_kind(received)


def _other_kind(received: bytes) -> tuple[str, bool]:
    start = received[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name, is_image in _OTHERS:
        if start.startswith(magic.lower()):
            return name, is_image
    if received[4:8] == b"ftyp":
        picture = _PICTURES_IN_FTYP.get(received[8:12])
        return (picture, True) if picture else ("a video", False)
    if start.isascii() and not set(start) & set(range(9)):
        return "text", False
    return f"of no known kind (it begins with {received[:8].hex(' ')})", False


def bmp_colours(received: bytes) -> int:
    """How many colours the palette of a BMP claims to have, where it has a palette."""
    has_palette = 0 < int.from_bytes(received[28:30], "little") <= 8
    is_old = int.from_bytes(received[14:18], "little") < 40
    return 0 if is_old or not has_palette else int.from_bytes(received[46:50], "little")


def check_tiff(received: bytes) -> None:
    """Refuse a TIFF of too many tags, strips or tiles: Pillow goes over all that are claimed.

    It takes the form with large offsets (BigTIFF) for one by the third byte, in either byte order.
    """
    order, is_big = "<" if received[:2] == b"II" else ">", received[2:3] == b"+"
    place, length, tag = ("8xQ", "Q", "HHQ8x") if is_big else ("4xL", "H", "HHL4x")
    entry = struct.Struct(order + tag)
    try:
        [at] = struct.unpack_from(order + place, received)
        [tags] = struct.unpack_from(order + length, received, at)
        begin = at + struct.calcsize(order + length)
        entries = [entry.unpack_from(received, begin + entry.size * number)
                   for number in range(min(tags, MAX_TAGS))]  # fmt: skip
    except (struct.error, OverflowError):
        raise ImageRefused("TRUNCATED", "the TIFF ends before the list of its tags") from None
    if tags > MAX_TAGS:
        raise ImageRefused("UNSUPPORTED", f"a TIFF of more than {MAX_TAGS:,} tags")
    if sum(count for name, _, count in entries if name in _TIFF_PARTS) > MAX_PARTS:
        raise ImageRefused("UNSUPPORTED", f"a TIFF of more than {MAX_PARTS:,} strips or tiles")


def webp_size(received: bytes) -> tuple[int, int]:
    """Width and height that a WebP's header claims."""
    kind, head = received[12:16], received[20:30]
    if len(head) == 10 and kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if len(head) == 10 and kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:])
        return width & 0x3FFF, height & 0x3FFF
    if len(head) >= 5 and kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ImageRefused("TRUNCATED", "the WebP's header is cut short or damaged")


def png_size(bare: bytes) -> tuple[int, int]:
    """Width and height that the header of a bare PNG claims."""
    width, height = struct.unpack_from(">II", bare, 16)
    return width, height


class JpegFrame(NamedTuple):
    """What a frame header of a JPEG claims."""

    code: int  # of its marker
    bits: int  # of a sample
    width: int
    height: int
    components: int


def jpeg_size(bare: bytes) -> tuple[int, int]:
    """The largest width and height that a frame header of a bare JPEG claims."""
    width, height = 0, 0
    for frame in jpeg_frames(bare):
        width, height = max(width, frame.width), max(height, frame.height)
    return width, height


def check_scans(bare: bytes, frames: Iterable[JpegFrame]) -> None:
    """Refuse a bare JPEG with fewer bits than its picture has blocks of 8 x 8; Pillow takes it.

    A Huffman code has a bit or more. What is missing would be decoded to grey.
    """
    for frame in frames:
        width, height = frame.width, frame.height
        if frame.code in _HUFFMAN_FRAMES and -(-width // 8) * -(-height // 8) > 8 * len(bare):
            raise ImageRefused("TRUNCATED", f"{len(bare):,} bytes of JPEG for {width} x {height}")


def jpeg_frames(bare: bytes) -> Iterator[JpegFrame]:
    """Each frame header of a bare JPEG."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        code, at = _next_marker(bare, at)
        if code in _FRAMES and at + 7 <= len(bare):
            bits, height, width = struct.unpack_from(">BHH", bare, at + 2)
            components = bare[at + 7] if at + 7 < len(bare) else 0
            yield JpegFrame(code, bits, width, height, components)
        if code in (0xD9, 0xDA):
            return
        at += int.from_bytes(bare[at : at + 2], "big")


def strip_jpeg(received: bytes) -> tuple[bytes, bytes | None, bool]:
    """A JPEG of tables and scans only, its EXIF block, and True: it needs no new encoding.

    What follows the end marker (a second image, a film) is dropped, too.
    """
    parts, exif, at, scans = [b"\xff\xd8"], None, 2, 0
    for _ in range(MAX_SEGMENTS):
        code, at = _next_marker(received, at)
        if code == 0xD9:
            return b"".join([*parts, b"\xff\xd9"]), exif, True
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # markers without a segment
            continue
        end = at + int.from_bytes(received[at : at + 2], "big")
        if end < at + 2 or end > len(received):
            raise ImageRefused("TRUNCATED", f"the JPEG ends inside the segment at byte {at - 2}")
        if code == 0xE1 and exif is None and received[at + 2 : at + 8] == b"Exif\0\0":
            exif = received[at + 8 : end]
        parts.append(_bare_segment(code, received[at + 2 : end]))
        at = end
        if code == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise ImageRefused("UNSUPPORTED", f"a JPEG of more than {MAX_SCANS} scans")
            at = _scan_end(received, at)
            parts.append(received[end:at].rstrip(b"\xff"))  # fill bytes before the marker
    raise ImageRefused("UNSUPPORTED", f"a JPEG of more than {MAX_SEGMENTS:,} segments")


def _next_marker(received: bytes, at: int) -> tuple[int, int]:
    """The code of the first marker from `at` on, and where its segment begins."""
    marker = _MARKER.search(received, at)
    if marker is None:
        raise ImageRefused("TRUNCATED", f"the JPEG has no end marker in its {len(received)} bytes")
    return received[marker.end() - 1], marker.end()


def _scan_end(received: bytes, at: int) -> int:
    """Where the marker after the scan that begins at `at` is."""
    marker = _SCAN_END.search(received, at)
    if marker is None:
        raise ImageRefused(
            "TRUNCATED", f"the JPEG stops inside the picture, at byte {len(received)}"
        )
    return marker.start()


def _bare_segment(code: int, body: bytes) -> bytes:
    """The segment as it is stored, without metadata; decoders need the JFIF and Adobe markers."""
    if code == 0xE0 and body[:5] == b"JFIF\0":
        return _JFIF
    if code == 0xEE and body[:5] == b"Adobe":
        body = body[:12]
    elif 0xE0 <= code <= 0xEF or code == 0xFE:
        return b""
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body


def strip_png(received: bytes) -> tuple[bytes, bytes | None, bool]:
    """A PNG of its critical chunks only, its EXIF block, and whether it is 8-bit grey or RGB."""
    bare, exif = [_PNG], None
    for name, chunk in _chunks(received):
        body = chunk[8:-4]
        if name == b"acTL" and int.from_bytes(body[:4], "big") > 1:
            raise ImageRefused("ANIMATED", "an animated PNG; save the frame that counts by itself")
        if name == b"eXIf":
            exif = body
        if name in _PNG_CHUNKS:
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise ImageRefused(
                    "TRUNCATED", f"the PNG's chunk {name.decode()} fails its checksum"
                )
            bare.append(chunk)
    return b"".join(bare), exif, _is_plain(bare)


def _chunks(received: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each chunk up to the end chunk; a PNG without one is refused."""
    at = len(_PNG)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(received):
            raise ImageRefused(
                "TRUNCATED", f"the PNG has no end chunk in its {len(received)} bytes"
            )
        length, name = struct.unpack_from(">I4s", received, at)
        end = at + 12 + length
        if end > len(received):
            raise ImageRefused(
                "TRUNCATED", f"the PNG stops inside the chunk that begins at byte {at}"
            )
        yield name, received[at:end]
        if name == b"IEND":
            return
        at = end
    raise ImageRefused("UNSUPPORTED", f"a PNG of more than {MAX_CHUNKS:,} chunks")


def _is_plain(chunks: list[bytes]) -> bool:
    """Whether the PNG is 8-bit grey or RGB without a transparent colour."""
    if chunks[1][4:8] != b"IHDR" or len(chunks[1]) != 25:
        raise ImageRefused("TRUNCATED", "the PNG does not begin with its header")
    depth, colour = chunks[1][16:18]
    transparent = any(chunk[4:8] == b"tRNS" for chunk in chunks)
    if transparent and depth != 8 and colour != 3:  # Pillow compares it with the scaled values
        raise ImageRefused(
            "UNSUPPORTED", f"a transparent colour in {depth} bits; save it with alpha"
        )
    return depth == 8 and colour in (0, 2) and not transparent


def check_rows(bare: bytes) -> None:
    """Refuse a bare PNG whose picture has fewer rows than its header claims; Pillow takes it."""
    width, height, depth, colour, _, _, laced = struct.unpack_from(">IIBBBBB", bare, 16)
    bits = depth * _PNG_SAMPLES.get(colour, 1)
    missing = 0
    for left, top, across, down in _LACES if laced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        missing += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    inflater = zlib.decompressobj()
    for name, chunk in _chunks(bare):
        rest = chunk[8:-4] if name == b"IDAT" else b""
        while rest and missing > 0 and not inflater.eof:
            missing -= len(inflater.decompress(rest, 2**20))
            rest = inflater.unconsumed_tail
    if missing > 0:
        raise ImageRefused("TRUNCATED", f"the PNG lacks {missing} bytes of its picture")
