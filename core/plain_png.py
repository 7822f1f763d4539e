"""A plain PNG, decompressed once: to count its rows and to decode it.

Pillow takes a PNG that lacks rows, so its data would be decompressed a second time to see that.
Whatever is unusual or damaged is left to Pillow and to the checks that name the cause.
"""

import struct
import zlib

from PIL import Image

MOST_BYTES = 2**22  # of rows; a larger picture would be in memory three times at once
_HEADER = struct.Struct(">8x4x4sIIBBBBB")  # behind the signature and the length of the chunk
_CHUNK = struct.Struct(">I4s")
_FIRST = 33  # bytes of signature and header
_MODES = {0: ("L", 1), 2: ("RGB", 3)}  # by colour type, with the bytes of a pixel
_BLOCK = 2**16 - 1  # bytes of a block that is stored, not compressed
_ZLIB = b"\x78\x01"  # begins a stream


def plain_png(bare: bytes) -> Image.Image | None:
    """The picture of a bare PNG in 8-bit grey or RGB that is whole; None of any other."""
    name, width, height, depth, colour, *methods = _HEADER.unpack_from(bare)
    mode, wide = _MODES.get(colour, ("", 0))
    size = height * (1 + width * wide)
    if name != b"IHDR" or depth != 8 or not mode or any(methods) or not width * height:
        return None
    if size > MOST_BYTES:
        return None
    rows = _rows(bare, size)
    if rows is None:
        return None
    try:
        return Image.frombytes(mode, (width, height), _stored(rows), "zip", mode)
    except ValueError:  # a row of an unknown filter
        return None


def _rows(bare: bytes, size: int) -> bytes | None:
    """The rows as they were filtered, `size` bytes; None unless that is what the data hold."""
    parts, at = [], _FIRST
    while True:
        length, name = _CHUNK.unpack_from(bare, at)
        if name != b"IDAT":
            break
        parts.append(bare[at + 8 : at + 8 + length])
        at += 12 + length
    if name != b"IEND" or length:
        return None
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(b"".join(parts), size + 1)
    except zlib.error:
        return None
    whole = inflater.eof and not inflater.unused_data and len(rows) == size
    return rows if whole else None


def _stored(rows: bytes) -> bytes:
    """The rows as a zlib stream that takes no time to decompress: Pillow reverses the filters."""
    parts = [_ZLIB]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(rows)
        parts += struct.pack("<BHH", is_last, len(block), len(block) ^ _BLOCK), block
    return b"".join(parts) + zlib.adler32(rows).to_bytes(4)
