"""The images that a model may read for annotators, by their addresses in Label Studio.

An address is untrusted and never fetched: it is only looked up among the staged images.
"""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

from core.bucket import BucketImageStore
from core.images import MAX_BYTES

LOCAL_FILES = "/data/local-files/"  # how Label Studio names a file below its document root

ReadImage = Callable[[str], bytes]


class Unreadable(ValueError):
    """An image that cannot be read for an annotator: a one-word reason and a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def staged_folder_images(staged: Path, document_root: Path | None = None) -> ReadImage:
    """A reader of the staged images by their addresses in Label Studio, and of nothing else.

    `document_root` is Label Studio's document root; default: the folder of the staged images.
    """

    def read(address: str) -> bytes:
        folder = (staged / "images").resolve()
        path = ((document_root or staged) / _file_of(address)).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise Unreadable("NOT_STAGED", f"{address[:200]!r} is no file in {folder}")
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable("TOO_LARGE", f"{address[:200]!r} has over {MAX_BYTES:,} bytes")
        return path.read_bytes()

    return read


def object_images(bucket: BucketImageStore) -> ReadImage:
    """A reader of the staged images in an object store, and of nothing else."""

    def read(address: str) -> bytes:
        content = bucket.read(address, limit=MAX_BYTES)
        if content is None:
            raise Unreadable(
                "NOT_STAGED",
                f"{address[:200]!r} is no image of up to {MAX_BYTES:,} bytes at {bucket.address()}",
            )
        return content

    return read


def no_images(address: str) -> bytes:
    """Refuses every address: a service without a workspace has no staged images."""
    raise Unreadable(
        "NO_WORKSPACE", f"{address[:200]!r}: HONE_WORKSPACE is not set for the service"
    )


def _file_of(address: str) -> PurePosixPath:
    """The file that an address names below the document root."""
    try:
        parts = urlsplit(address)
        [name] = parse_qs(parts.query, strict_parsing=True, max_num_fields=1)["d"]
    except (ValueError, KeyError):
        parts, name = urlsplit(""), ""
    file = PurePosixPath(name)
    elsewhere = parts.scheme or parts.netloc or parts.path != LOCAL_FILES
    if elsewhere or "\0" in name or file.is_absolute() or ".." in file.parts:
        raise Unreadable("NOT_STAGED", f"{address[:200]!r} is no address of a staged image")
    return file
