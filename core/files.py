"""Files that are there whole or not at all, and are what they were when read again."""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.access import SHARED


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> str:
    """Put `content` (bytes, or a function that writes them) at `path`; return its SHA-256.

    A reader sees the old file or the new one, also after a power cut: temporary name in the same
    folder, fsync of the file, rename, fsync of the folder. Whatever the umask, users outside the
    group get no right to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SHARED)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_path(path.parent)
    return digest


def sync_path(path: Path) -> None:
    """Make what is in a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(path: Path, sha256: str) -> bytes:
    """The bytes of `path`, refused when they are not those that were written."""
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise ValueError(
            f"{path}: its bytes have SHA-256 {actual[:12]}, {sha256[:12]} was written; "
            "the file was changed or damaged, restore it from the DVC remote or a backup"
        )
    return content
