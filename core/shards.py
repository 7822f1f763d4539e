"""Images in tar files of a few thousand, each written once and named by its digest.

Any tar reads them; we read single images by offset, without unpacking, and check each one.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.files import write_atomically

_BLOCK = 512
# The parts of a ustar header that are the same for every member: mode, user, group; time; the rest
# after the checksum, which counts itself as eight spaces.
_OWNER = b"0000644\0" + b"0000000\0" * 2
_TIME = b"00000000000\0"
_REST = (b"0" + bytes(100) + b"ustar\00000").ljust(_BLOCK - 156, b"\0")
_REST_SUM = sum(_REST) + 8 * ord(" ")
_PART = 2**20  # bytes read at once of a file that is copied
_OPEN_AT_ONCE = 64  # shards kept open while reading many


@dataclass(frozen=True)
class ShardLocation:
    """Where one image lies, and what it must be when it is read."""

    shard: str  # file name
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A shard that is packed and not yet written: its name is known before the file is there."""

    name: str  # SHA-256 of the file, and .tar
    places: list[ShardLocation]  # in the order the images were given
    blocks: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks))

    def write(self, folder: Path) -> None:
        """Put the file into `folder`, whole; writing it twice is writing it once."""
        written = write_atomically(folder / self.name, lambda file: file.writelines(self.blocks))
        if f"{written}.tar" != self.name:
            raise OSError(
                f"{folder / self.name}: what the disk gives back has SHA-256 {written[:12]}; "
                "check the disk and run again"
            )


def pack(images: Sequence[tuple[str, bytes]]) -> Shard:
    """The shard of these (name, bytes); the same images in any order give the same shard."""
    blocks: list[bytes] = []
    places_of: dict[str, tuple[int, int]] = {}
    at = 0
    for name, content in sorted(images):
        if name in places_of:
            raise ValueError(
                f"{name!r} stands twice among the images of one shard; names are unique"
            )
        places_of[name] = (at + _BLOCK, len(content))
        blocks += [_header(name, len(content)), content, bytes(-len(content) % _BLOCK)]
        at = places_of[name][0] + len(content) + len(blocks[-1])
    blocks.append(bytes(2 * _BLOCK))  # the end of a tar
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    shard = f"{digest.hexdigest()}.tar"
    places = [ShardLocation(shard, *places_of[name], _sha256(content)) for name, content in images]
    return Shard(shard, places, blocks)


def write_shard(folder: Path, images: Sequence[tuple[str, bytes]]) -> list[ShardLocation]:
    """Pack and write the images as one shard; return where each lies, in the order given."""
    shard = pack(images)
    shard.write(folder)
    return shard.places


def blanked(path: Path, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The bytes of a file with zeros at these (offset, length), a part at a time."""
    with path.open("rb") as file:
        for offset, length in sorted(set(places)):
            yield from _parts(file, offset - file.tell())
            yield bytes(length)
            file.seek(length, os.SEEK_CUR)
        yield from _parts(file, max(0, path.stat().st_size - file.tell()))


def _parts(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length and (part := file.read(min(length, _PART))):
        length -= len(part)
        yield part


def read_image(folder: Path, place: ShardLocation) -> bytes:
    """The bytes at `place`, refused when they are not those that were written."""
    with _opened(folder, place) as file:
        return _read(file, folder, place)


def read_images(folder: Path, places: Iterable[ShardLocation]) -> Iterator[bytes]:
    """The bytes at each of `places`, in their order; each shard is opened once, or nearly."""
    with ExitStack() as rest:
        files: OrderedDict[str, BinaryIO] = OrderedDict()
        rest.callback(lambda: [file.close() for file in files.values()])
        for place in places:
            if place.shard not in files:
                if len(files) == _OPEN_AT_ONCE:
                    files.popitem(last=False)[1].close()
                files[place.shard] = _opened(folder, place)
            yield _read(files[place.shard], folder, place)


def _opened(folder: Path, place: ShardLocation) -> BinaryIO:
    try:
        return (folder / place.shard).open("rb", buffering=0)
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder / place.shard} is not there; get it back with `dvc pull` in the workspace"
        ) from error


def _read(file: BinaryIO, folder: Path, place: ShardLocation) -> bytes:
    content = os.pread(file.fileno(), place.length, place.offset)
    actual = _sha256(content)
    if actual != place.sha256:
        raise ValueError(
            f"{folder / place.shard}: the {place.length} bytes at {place.offset} have SHA-256 "
            f"{actual[:12]}, {place.sha256[:12]} was written; the file was changed or damaged, "
            "restore it from the DVC remote or a backup"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _header(name: str, length: int) -> bytes:
    """A ustar header that depends on nothing but name and length (tarfile takes 5 x as long)."""
    encoded = name.encode()
    if not 0 < len(encoded) <= 100:
        raise ValueError(f"{name!r}: a name in a shard has 1 to 100 bytes")
    fields = encoded.ljust(100, b"\0") + _OWNER + b"%011o\0" % length + _TIME
    total = sum(fields) + _REST_SUM
    return fields + b"%06o\0 " % total + _REST
