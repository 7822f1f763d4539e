"""Damaged input: bytes changed anywhere, and the parts of a format changed as its reader sees them.

A change that leaves checksums and lengths right gets past the first check of a parser, so chunks
of PNG, segments of JPEG, chunks of RIFF and values of JSON are changed as such, too.
"""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"
MOST = 200_000  # bytes of a damaged input
NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)
TOKENS = (
    b"\x00", b"\xff", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\n", b"\r", b"\r\n", b'"',
    b",",
    b";",     b"\t", b"[", b"]", b"{", b"}", b"[[", b"<", b">", b"<!DOCTYPE x [", b"&amp;",
    b"&#0;", b"--x",
    b"--x--\r\n", b"NaN", b"1e999", b"-1", b"true", b"null", b"\\ud800", b"\\u0000",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"../", b"//[", b"%00", b"%ff", b"file://",
    b"9" * 500, b"9" * 5_000, b"A" * 3_000, b"[" * 2_000, b"Exif\x00\x00", b"ICC_PROFILE\x00",
    b"http://ns.adobe.com/xap/1.0/\x00", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00",
    b"2026-99-99", b"charset=punycode", b"filename*=utf-8''%ff", b"a.a.a.a.a.a.a.a", b"\x1b[31m",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1.0, 0.5, -1e308, float("nan"),
    float("inf"), "", " ", "0", "1", "cat", "CAT", "cat ", "c\u0430t", "\0", "a\0b", "\ud800",
    "e\u0301", "\u00e9", "x" * 5_000, [], [[]], ["cat"], ["cat", "dog"], {}, {"id": 1},
    {"choices": "0"}, {"choices": ["cat"]}, "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00", "2026-02-30",
    "../../etc/passwd", "/etc/passwd", "//[", "file://[x", "data:,", "http://127.0.0.1/x",
    "/data/local-files/?d=a.png", "/data/upload/" + "a/" * 1_000, "f" * 64, "-inf", "\u202e",
    "\r\n",
)  # fmt: skip

Change = Callable[[bytes, Random], bytes]


def damaged(content: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """The content after one to six changes; `others` are whole inputs to take parts from."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        change = random.choice(CHANGES)
        content = change(content, random) if random.random() < 0.9 else splice(
            content, random.choice(others), random
        )  # fmt: skip
    return content[:MOST]


def splice(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of one input and the end of another."""
    return content[: _place(content, random)] + other[_place(other, random) :]


def flip(content: bytes, random: Random) -> bytes:
    """One bit in another state."""
    changed = bytearray(content or b"\0")
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(content: bytes, random: Random) -> bytes:
    """Random bytes in the place of others."""
    at, length = _place(content, random), random.choice((1, 1, 2, 4, 16))
    return content[:at] + random.randbytes(length) + content[at + length :]


def cut(content: bytes, random: Random) -> bytes:
    """Without its end."""
    return content[: _place(content, random)]


def drop(content: bytes, random: Random) -> bytes:
    """Without some bytes in the middle."""
    at = _place(content, random)
    return content[:at] + content[at + random.choice((1, 2, 8, 64, 512)) :]


def repeat(content: bytes, random: Random) -> bytes:
    """With a part more than once."""
    at = _place(content, random)
    part = content[at : at + random.choice((1, 2, 8, 64, 512))]
    return content[:at] + part * random.choice((2, 3, 100)) + content[at:]


def insert(content: bytes, random: Random) -> bytes:
    """With text or bytes that mean something to a parser."""
    at = _place(content, random)
    return content[:at] + random.choice(TOKENS) + content[at:]


def number(content: bytes, random: Random) -> bytes:
    """With another number where a length, a size or a count may be."""
    at, value = _place(content, random), random.choice(NUMBERS)
    code = random.choice(("<H", ">H", "<I", ">I", "B"))
    packed = struct.pack(code, value & (256 ** struct.calcsize(code) - 1))
    return content[:at] + packed + content[at + len(packed) :]


def lines(content: bytes, random: Random) -> bytes:
    """With its lines in another order, some twice, some not at all."""
    parts = content.split(b"\n")
    at = random.randrange(len(parts))
    other = random.randrange(len(parts))
    change = random.choice(("drop", "double", "swap", "cells"))
    if change == "drop":
        del parts[at]
    elif change == "double":
        parts[at:at] = [parts[at]] * random.choice((1, 2, 50))
    elif change == "swap":
        parts[at], parts[other] = parts[other], parts[at]
    else:
        cells = parts[at].split(b",")
        cells[random.randrange(len(cells))] = random.choice(TOKENS)
        parts[at] = b",".join(cells)
    return b"\n".join(parts)


def parts(content: bytes, random: Random) -> bytes:
    """With a chunk or segment of its image format gone, doubled, moved, or of another content."""
    if content.startswith(PNG):
        pieces, join = list(_png_chunks(content)), _png
    elif content[:4] == b"RIFF":
        pieces, join = list(_riff_chunks(content)), _riff
    elif content[:2] == b"\xff\xd8":
        pieces, join = list(_jpeg_segments(content)), _jpeg
    else:
        return number(content, random)
    if not pieces:
        return flip(content, random)
    at = random.randrange(len(pieces))
    name, body = pieces[at]
    change = random.choice(("drop", "double", "swap", "body", "head", "name", "add"))
    if change == "drop":
        del pieces[at]
    elif change == "double":
        pieces[at:at] = [pieces[at]] * random.choice((1, 3, 200))
    elif change == "swap":
        other = random.randrange(len(pieces))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    elif change == "body":
        pieces[at] = name, random.choice((flip, overwrite, cut, drop, repeat, insert))(body, random)
    elif change == "head":  # sizes, depths and types stand at the beginning
        pieces[at] = name, number(body[:16], random) + body[16:]
    elif change == "name":
        pieces[at] = random.choice(pieces)[0], body
    else:
        pieces.insert(
            at, (random.choice(_NAMES[join]), random.choice(TOKENS) * random.choice((1, 9)))
        )
    return join(pieces)


def values(content: bytes, random: Random) -> bytes:
    """With another value somewhere in its JSON."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return insert(content, random)
    places = list(_places(whole))
    if not places:
        return insert(content, random)
    for _ in range(random.choice((1, 1, 2, 5))):
        holder, key = random.choice(places)
        change = random.choice(("value", "value", "value", "drop", "double", "nest", "swap"))
        if (isinstance(holder, list) and key >= len(holder)) or (
            isinstance(holder, dict) and key not in holder
        ):
            continue
        if change == "value":
            holder[key] = random.choice(VALUES)
        elif change == "drop":
            del holder[key]
        elif change == "nest":
            for _ in range(random.choice((1, 20, 300))):
                holder[key] = [holder[key]]
        elif change == "swap":
            other, there = random.choice(places)
            holder[key] = other[there] if _holds(other, there) and other is not holder else None
        elif isinstance(holder, list):
            holder += [holder[key]] * random.choice((1, 30))
        else:
            holder[random.choice(("id", "data", "x", "\0", "annotations"))] = holder[key]
    try:
        return json.dumps(whole).encode()
    except (ValueError, RecursionError):  # it was put into itself
        return insert(content, random)


CHANGES: tuple[Change, ...] = (
    flip, flip, overwrite, cut, drop, repeat, insert, insert, number, number, lines, parts, parts,
    parts, values, values, values, values,
)  # fmt: skip


def _place(content: bytes, random: Random) -> int:
    """A place in the content, every second time near its beginning."""
    most = len(content) if random.random() < 0.5 else min(len(content), 64)
    return random.randint(0, most)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        pairs = (
            holder.items()
            if isinstance(holder, dict)
            else enumerate(holder)
            if isinstance(holder, list)
            else ()
        )
        for key, inner in list(pairs):
            yield holder, key
            waiting.append(inner)


def _holds(holder: Any, key: Any) -> bool:
    return key < len(holder) if isinstance(holder, list) else key in holder


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def _png(pieces: Sequence[tuple[bytes, bytes]]) -> bytes:
    return PNG + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in pieces
    )


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _riff(pieces: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(inner)) + inner + bytes(len(inner) % 2)
        for name, inner in pieces
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg_segments(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Marker and body of each segment; the last one has the scan in its body, lengths and all."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at : at + 2], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == b"\xff\xda":
            yield b"scan", content[at:]
            return
        yield marker, content[at + 4 : at + 2 + length]
        at += 2 + length


def _jpeg(pieces: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"\xff\xd8" + b"".join(
        body if name == b"scan" else name + struct.pack(">H", min(len(body) + 2, 65_535)) + body
        for name, body in pieces
    )


_NAMES: dict[Callable[[Sequence[tuple[bytes, bytes]]], bytes], tuple[bytes, ...]] = {
    _png: (b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"iTXt", b"zTXt", b"acTL", b"fcTL", b"IDAT",
           b"IEND"),
    _riff: (b"VP8X", b"VP8L", b"VP8 ", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"XMP "),
    _jpeg: (b"\xff\xe1", b"\xff\xe2", b"\xff\xc0", b"\xff\xc4", b"\xff\xdb", b"\xff\xdd",
            b"\xff\xee"),
}  # fmt: skip
