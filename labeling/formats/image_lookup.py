"""Which image of ours each name in a label file means: a file to take in, or a sample we have."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection, Engine, select

from core.files import file_sha256
from core.rows import chunks
from core.text import listed, short, storable
from core.workspace import Workspace
from labeling.ingest.files import FoundFile
from labeling.ingest.intake import ingest
from labeling.ledger.tables import refusals, samples, sources

_FAR = re.compile(r"^(?!file://)([a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)
_LOCAL, _UPLOADED = "/data/local-files/", "/data/upload/"  # how Label Studio names images it shows
_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")  # before the name of a file that was uploaded to it
_SAMPLE = re.compile(r"[0-9a-f]{64}")


class Absent(NamedTuple):
    """Why a name means no image of ours."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Taken:
    """What became of the images that a label file names."""

    meant: dict[str, str | Absent]  # by name: the sample, or why there is none
    added: int  # samples that are new


def take_images(
    engine: Engine,
    workspace: Workspace,
    names: Sequence[str],
    *,
    folder: Path,
    processes: int = 1,
) -> Taken:
    """Take in the images of these names, relative to `folder`; one without a file stays out.

    An image that was taken in before needs no file any more. Our own exported images are known by
    name and content: they are the samples they were made of, not new ones.
    """
    found = find_files(names, folder)
    files = {name: path for name, path in found.items() if isinstance(path, str)}
    with engine.connect() as connection:
        exported = _exported(connection, files)
    paths = sorted({path for name, path in files.items() if name not in exported})
    added = 0
    if paths:
        added = ingest(engine, workspace, [Path(path) for path in paths], processes=processes).added
    with engine.connect() as connection:
        outcomes = _outcomes(connection, {name: _path(folder, name, found) for name in found})
    lost = dict.fromkeys(files, Absent("NO_SUCH_IMAGE", "it vanished meanwhile; import again"))
    return Taken({**found, **lost, **outcomes, **exported}, added)


def find_files(names: Iterable[str], folder: Path) -> dict[str, str | Absent]:
    """The file that each name means; two names for one file are only believed when both are exact.

    A path counts from `folder`. A bare file name, and what Label Studio makes of a path, may lie
    anywhere below it. Addresses are not fetched.
    """
    below = _Below(folder.resolve())
    found: dict[str, str | Absent] = {}
    guessed: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        exact = below.exact(name)
        found[name] = fate = exact or below.guess(name)
        if exact is None and isinstance(fate, str):
            guessed[fate].append(name)
    for path, rivals in guessed.items():
        if len(rivals) > 1:
            detail = f"{listed(rivals)} all look like {path}; write their paths in full"
            found |= dict.fromkeys(rivals, Absent("AMBIGUOUS", detail))
    return found


def is_sample_id(text: str | None) -> bool:
    """Whether a text looks like the name of a sample."""
    return bool(text and _SAMPLE.fullmatch(text))


@dataclass
class _Below:
    """The files below a folder."""

    folder: Path

    def exact(self, name: str) -> str | None:
        """The file at exactly this path."""
        if _FAR.match(name):
            return None
        path = unquote(urlsplit(name).path) if name.startswith("file://") else name
        ways = (path, path.strip(), path.replace("\\", "/"))
        return next(filter(None, map(self._file, ways)), None)

    def guess(self, name: str) -> str | Absent:
        """The one file that a bare file name or a path of Label Studio's can mean."""
        if _FAR.match(name):
            return Absent("NOT_FETCHED", f"{short(name)} is an address; download it, name the file")
        served = _served(name)
        ends = [PurePosixPath(*served[at:]) for at in range(len(served))]
        if as_path := next(filter(None, (self._file(str(end)) for end in ends)), None):
            return as_path
        bare = [served[-1], _UPLOAD_MARK.sub("", served[-1])] if served else [name.strip()]
        for wanted in bare:
            if paths := self._by_name.get(wanted, set()):
                return self._only(wanted, paths)
        where = f"{short(name)} is no file; paths count from {self.folder}"
        return Absent("NO_SUCH_IMAGE", f"{where}, name another folder with --images")

    def _only(self, name: str, paths: set[str]) -> str | Absent:
        if len(paths) == 1:
            return next(iter(paths))
        detail = f"{len(paths)} files are called {short(name)}: {listed(sorted(paths))}"
        return Absent("AMBIGUOUS", f"{detail}; write its path in full")

    def _file(self, path: str) -> str | None:
        whole = os.path.join(self.folder, path)  # noqa: PTH118 - a Path per name is slow
        return os.path.realpath(whole) if path and os.path.isfile(whole) else None  # noqa: PTH113

    @cached_property
    def _by_name(self) -> dict[str, set[str]]:
        """Every file by its name, and by the name Label Studio gives it when it is uploaded."""
        found: dict[str, set[str]] = defaultdict(set)
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = os.path.realpath(os.path.join(folder, name))  # noqa: PTH118
                found[name].add(path)
                found[re.sub(r"[^-\w.]", "", name.replace(" ", "_"))].add(path)
        return dict(found)


def _served(name: str) -> list[str]:
    """The folders and the file in an address below Label Studio's own, none for any other name."""
    parts = urlsplit(name)
    path = parts.path.removeprefix(_UPLOADED) if parts.path.startswith(_UPLOADED) else ""
    if parts.path == _LOCAL:
        path = parse_qs(parts.query).get("d", [""])[0]
    elif path:
        path = unquote(path)
    return [part for part in path.split("/") if part not in ("", ".", "..")]


def _path(folder: Path, name: str, found: dict[str, str | Absent]) -> str:
    """Where the file of a name lies, or would lie."""
    place = found[name]
    path = place if isinstance(place, str) else os.path.realpath(folder / storable(name))
    return FoundFile(path, 0, 0).name


def _exported(connection: Connection, files: dict[str, str]) -> dict[str, str]:
    """The samples whose images, as we wrote them or as they came, lie in these files."""
    named = {name: Path(path).stem for name, path in files.items()}
    stored: dict[str, str] = {}
    for keys in chunks(sorted({stem for stem in named.values() if is_sample_id(stem)})):
        columns = samples.c["sample_id", "stored_sha256"]
        asked = select(*columns).where(samples.c.sample_id.in_(keys))
        stored |= dict(connection.execute(asked).tuples().all())
    return {
        name: stem
        for name, stem in named.items()
        if stem in stored and file_sha256(Path(files[name])) in (stem, stored[stem])
    }


def _outcomes(connection: Connection, paths: dict[str, str]) -> dict[str, str | Absent]:
    """What intake says of the file of each name, nothing for one it never saw."""
    seen: dict[str, str | Absent] = {}
    for keys in chunks(sorted(set(paths.values()))):
        taken = select(*sources.c["path", "sample_id"]).where(sources.c.path.in_(keys))
        seen |= dict(connection.execute(taken).tuples().all())
        refused = select(*refusals.c["path", "reason", "detail"]).where(refusals.c.path.in_(keys))
        for path, reason, detail in connection.execute(refused).tuples():
            seen[path] = Absent(reason, f"{path}: {detail}")
    return {name: seen[path] for name, path in paths.items() if path in seen}
