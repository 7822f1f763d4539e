"""What a snapshot is made of, object by object: in DVC's cache, on its remote, in the workspace.

DVC takes an object for sound because its name is there. Here every one is read before it is
believed: one that is missing or damaged on the remote is sent again, one in the cache is not used.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import yaml

from core.dvc_config import use_private_site_cache
from core.files import sync_path, write_atomically
from core.git import show

DVC_FILES = ("data/labels.parquet.dvc", "data/shards.dvc")  # what git keeps of the objects
OBJECT_NAME = re.compile(r"[0-9a-f]{32}(\.dir)?")
CHUNK = 1 << 20
A_DAY = 86_400  # seconds
BRACKETS = 50  # of a note: YAML takes work by the square of how deeply brackets are nested


class StoreError(RuntimeError):
    """The cache or the remote did not take, or does not have, what it was given."""


@dataclass(frozen=True)
class DvcObject:
    """One object: where it belongs in the workspace, and its MD5, by which DVC names it."""

    path: str
    md5: str

    @property
    def is_listing(self) -> bool:
        """Whether it is the list of a folder's files and no file of the workspace."""
        return self.md5.endswith(".dir")


Replaced = Mapping[str, DvcObject | None]  # by MD5: what took an object's place, if anything


class ObjectStore:
    """DVC's cache and remote of one workspace. Use it in a `with` block."""

    def __init__(self, root: Path, replaced: Replaced | None = None) -> None:
        self.root = root
        self._replaced = replaced or {}
        self._opened: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def track(self) -> None:
        """Take the labels table and the shards, as they are now, into the cache and the notes."""
        self._drop_half_written()
        with self._explained("see that no other dvc command runs here and the disk has room"):
            self._add()
            self._mend_cache([self._noted(self._note_here(note), note) for note in DVC_FILES])

    def objects(self, commit: str) -> list[DvcObject]:
        """Every object that `commit` needs; a folder's listing comes after its files.

        Of one that was replaced since then it is its successor.
        """
        wanted = self._objects(lambda note: show(self.root, commit, note))
        stored = (self._replaced.get(one.md5, one) for one in wanted)
        return list(dict.fromkeys(one for one in stored if one is not None))

    def objects_here(self) -> list[DvcObject]:
        """Every object that the notes in the workspace name."""
        return self._objects(self._note_here)

    def publish(self, objects: Sequence[DvcObject], *, verified: Collection[str]) -> None:
        """Have every object whole on the remote, where `dvc pull` finds it, or raise `StoreError`.

        Objects are sent in this order and read back. Of those in `verified` (MD5s) that was done
        before: presence and size are looked at. `dvc push` would call a damaged object up to date,
        and could not get past a damaged listing.
        """
        new = [wanted for wanted in objects if wanted.md5 not in verified]
        with self._explained("see that the remote answers and has room"):
            self._mend_cache(new)
            for wanted in objects:
                sound = self._has_size if wanted.md5 in verified else self._is_whole
                if not sound(wanted):
                    self._send(wanted)
            self._settle(objects)

    def problems(self, objects: Sequence[DvcObject]) -> list[str]:
        """What is wrong with `objects` on the remote, each read to its end; nothing is changed."""
        problems = []
        for wanted in objects:
            try:
                if not self._is_whole(wanted):
                    problems.append(
                        f"{wanted.path} ({wanted.md5}): missing or damaged on the remote"
                    )
            except Exception as error:  # each kind of remote has its own
                problems.append(f"{wanted.path} ({wanted.md5}): the remote answers {error}")
        return problems

    def read(self, wanted: DvcObject) -> bytes:
        """The bytes of an object, from the cache or else the remote; damaged ones are not used."""
        with self._explained("see that the remote answers"):
            for content in self._copies(wanted):
                if hashlib.md5(content, usedforsecurity=False).hexdigest() == wanted.md5[:32]:
                    return content
        raise StoreError(self._nowhere(wanted))

    @contextmanager
    def whole_file(self, wanted: DvcObject) -> Iterator[Path]:
        """A file with the bytes of an object, wherever a copy is whole; read it inside the block.

        Nothing is held in memory, unlike by `read`.
        """
        copy = next((path for path in self._files(wanted) if _is(path, wanted)), None)
        if copy is not None:
            yield copy
            return
        with tempfile.TemporaryDirectory() as folder, self._explained("see that it answers"):
            path = Path(folder) / "object"
            self._download(wanted, path)
            yield path

    def damaged_in_cache(
        self, objects: Sequence[DvcObject], *, others: bool = True
    ) -> Iterator[str]:
        """What is wrong in the cache: of `objects`, and of `others` any whose MD5 is not its name.

        A killed DVC may have left one of the others half-written.
        """
        names = {wanted.md5 for wanted in objects}
        for wanted in objects:
            if not self._usual(wanted).is_file():
                yield f"{wanted.path} ({wanted.md5}) is missing in {self._cache_folder}"
        for held in self._held():
            if (others or held.md5 in names) and not _is(Path(held.path), held):
                yield f"{held.path} is damaged: its MD5 is not its name"

    def _held(self) -> list[DvcObject]:
        """The files of the cache; those under a temporary name are being written, or were."""
        paths = [path for path in sorted(self._cache_folder.glob("??/*")) if path.is_file()]
        named = [DvcObject(str(path), path.parent.name + path.name) for path in paths]
        return [held for held in named if OBJECT_NAME.fullmatch(held.md5)]

    def mend(self, objects: Sequence[DvcObject]) -> list[str]:
        """Make each object whole in the cache and on the remote, from a copy that is.

        Returns a sentence for each that is whole nowhere. Damaged files of the cache that belong to
        no object are removed: DVC would take them for sound.
        """
        lost = []
        for wanted in objects:
            try:
                with self.whole_file(wanted) as copy:
                    self._cache_copy(wanted, copy)
                if not self._is_whole(wanted):
                    self._send(wanted)
            except (StoreError, OSError) as error:
                lost.append(f"{wanted.path} ({wanted.md5}): {error}")
        for held in self._held():
            if not _is(Path(held.path), held):
                Path(held.path).unlink()
        return lost

    def _cache_copy(self, wanted: DvcObject, copy: Path) -> None:
        if not self._is_cached(wanted):
            with copy.open("rb") as file:
                write_atomically(self._usual(wanted), partial(shutil.copyfileobj, file))
            self._usual(wanted).chmod(0o444)

    def restore(self, wanted: DvcObject) -> str:
        """Put an object's bytes at its place in the workspace; return their SHA-256."""
        return write_atomically(self.root / wanted.path, self.read(wanted))

    @property
    def _repo(self) -> Any:
        if self._opened is None:
            from dvc.repo import Repo

            use_private_site_cache(self.root)
            self._opened = Repo(str(self.root))
            staging = self._opened.scm_context
            staging.autostage = False  # `commit` does: git's locks can be told from living ones
            staging.quiet = True
        return self._opened

    @cached_property
    def _remote(self) -> Any:
        remote = self._repo.cloud.get_remote_odb()
        remote.fs.fs.invalidate_cache()
        return remote

    @property
    def _place(self) -> str:
        config = self._repo.config
        chosen = config["remote"].get(config["core"].get("remote"), {})
        return str(chosen.get("url", "(none is set)"))

    @contextmanager
    def _explained(self, remedy: str) -> Iterator[None]:
        """Turn what DVC and each kind of remote raise, all their own, into `StoreError`."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(
                f"DVC in {self.root}, remote {self._place}: {error or type(error).__name__}; "
                f"{remedy}, then run the command again"
            ) from error

    def _add(self) -> None:
        self._repo.add([str(self.root / note.removesuffix(".dvc")) for note in DVC_FILES])

    def _objects(self, read_note: Callable[[str], str]) -> list[DvcObject]:
        objects: list[DvcObject] = []
        for note in DVC_FILES:
            wanted = self._noted(read_note(note), note)
            if wanted.is_listing:
                objects += self._listed(wanted)
            objects.append(wanted)
        return objects

    def _note_here(self, note: str) -> str:
        return (self.root / note).read_text(encoding="utf-8")

    def _noted(self, text: str, note: str) -> DvcObject:
        return DvcObject(note.removesuffix(".dvc"), yaml.safe_load(text)["outs"][0]["md5"])

    def _listed(self, listing: DvcObject) -> list[DvcObject]:
        entries = json.loads(self.read(listing))
        for name in (entry["relpath"] for entry in entries):
            if Path(name).name != name:
                raise ValueError(f"{listing.path} lists {name!r}; a plain file name is needed")
        return [DvcObject(f"{listing.path}/{entry['relpath']}", entry["md5"]) for entry in entries]

    def _drop_half_written(self) -> None:
        """Remove what a killed DVC left unreadable and would now stumble over."""
        for note in (self.root / name for name in DVC_FILES):
            if note.exists() and not _is_note(note.read_text(encoding="utf-8", errors="replace")):
                note.unlink()
        for left in (self.root / "data").iterdir():
            if left.suffix in (".tmp", ".part"):
                left.unlink()
        running = self.root / ".dvc" / "tmp" / "rwlock"
        if running.exists() and not _is_json(running.read_bytes()):
            running.unlink()

    def _mend_cache(self, objects: Sequence[DvcObject]) -> None:
        """Make anew from the workspace what the cache has, but damaged."""
        held = [(wanted, self._cached(wanted)) for wanted in objects]
        damaged = [path for wanted, path in held if path and not _is(path, wanted)]
        for path in damaged:
            path.unlink()
        if damaged:
            self._add()

    def _cached(self, wanted: DvcObject) -> Path | None:
        path = Path(self._repo.cache.local.oid_to_path(wanted.md5))
        return path if path.is_file() else None

    @property
    def _cache_folder(self) -> Path:
        return self.root / ".dvc" / "cache" / "files" / "md5"

    def _usual(self, wanted: DvcObject) -> Path:
        """Where DVC's cache has the object, unless its configuration says otherwise."""
        return self._cache_folder / wanted.md5[:2] / wanted.md5[2:]

    def _is_cached(self, wanted: DvcObject) -> bool:
        return self._usual(wanted).is_file() and _is(self._usual(wanted), wanted)

    def _files(self, wanted: DvcObject) -> Iterator[Path]:
        """The files of this machine that should have the object's bytes."""
        places = [self._usual(wanted)]
        places += [] if wanted.is_listing else [self.root / wanted.path]
        yield from (path for path in places if path.is_file())

    def _download(self, wanted: DvcObject, path: Path) -> None:
        place = self._remote.oid_to_path(wanted.md5)
        try:
            with self._remote.fs.open(place, "rb") as file, path.open("wb") as copy:
                shutil.copyfileobj(file, copy, CHUNK)
        except FileNotFoundError:
            path.touch()
        if not _is(path, wanted):
            raise StoreError(self._nowhere(wanted))

    def _nowhere(self, wanted: DvcObject) -> str:
        return (
            f"{wanted.path} ({wanted.md5}) is whole neither in {self.root / '.dvc' / 'cache'} nor "
            f"on the DVC remote {self._place}; put it back from a backup of either"
        )

    def _copies(self, wanted: DvcObject) -> Iterator[bytes]:
        usual = self._usual(wanted)
        if usual.is_file():
            yield usual.read_bytes()  # without a second's import of DVC
        path = self._cached(wanted)
        if path is not None and path != usual:
            yield path.read_bytes()
        if self._remote.exists(wanted.md5):
            with self._remote.fs.open(self._remote.oid_to_path(wanted.md5), "rb") as file:
                yield file.read()

    def _is_whole(self, wanted: DvcObject) -> bool:
        try:
            with self._remote.fs.open(self._remote.oid_to_path(wanted.md5), "rb") as file:
                return _md5(file) == wanted.md5[:32]
        except FileNotFoundError:
            return False

    def _has_size(self, wanted: DvcObject) -> bool:
        known = self._cached(wanted) or self.root / wanted.path
        try:
            size = self._remote.fs.size(self._remote.oid_to_path(wanted.md5))
        except FileNotFoundError:
            return False
        return bool(size == known.stat().st_size) if known.is_file() else True

    def _send(self, wanted: DvcObject) -> None:
        source = self._cached(wanted)
        if source is None or not _is(source, wanted):
            source = self.root / wanted.path
        if not source.is_file() or not _is(source, wanted):
            raise StoreError(
                f"{wanted.path} ({wanted.md5}) is missing or damaged on the DVC remote "
                f"{self._place}, and here too; put it back from a backup of either"
            )
        self._remote.fs.put_file(str(source), self._remote.oid_to_path(wanted.md5))
        if not self._is_whole(wanted):
            raise StoreError(
                f"{wanted.path} ({wanted.md5}) was sent to the DVC remote {self._place} and does "
                "not read back the same; check the remote's disk or bucket"
            )

    def _settle(self, objects: Sequence[DvcObject]) -> None:
        """Make what a remote on this machine got survive a power cut; DVC itself never syncs."""
        if self._remote.fs.protocol != "local":
            return
        folders = {Path(self._remote.path), *Path(self._remote.path).parents[:3]}
        for wanted in objects:
            path = Path(self._remote.oid_to_path(wanted.md5))
            with path.open("rb") as file:
                os.fsync(file.fileno())
            folders.add(path.parent)
        for folder in sorted(folders):
            for left in folder.glob(".*.tmp"):  # of a killed run; DVC would keep them for ever
                if left.stat().st_mtime < time.time() - A_DAY:
                    left.unlink()
            sync_path(folder)


def _md5(file: BinaryIO) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _is(path: Path, wanted: DvcObject) -> bool:
    with path.open("rb") as file:
        return _md5(file) == wanted.md5[:32]


def _is_note(text: str) -> bool:
    if text.count("[") + text.count("{") > BRACKETS:
        return False
    try:
        return bool(yaml.safe_load(text)["outs"][0]["md5"])
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
