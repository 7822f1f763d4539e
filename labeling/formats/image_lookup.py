"""The sample that each image name in a label file stands for: a file to ingest, or a known one."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from sqlalchemy import Connection, Engine

from core.files import file_sha256
from core.text import listed, short, storable
from core.workspace import Workspace
from labeling.audit.numbers import AuditPolicy
from labeling.ingest.files import ImageFile
from labeling.ingest.intake import USUAL_AUDIT, ingest
from labeling.ledger.image_queries import RefusedFile, ingest_outcomes, stored_digests

LONGEST_NAME = 4_096  # characters; no file system takes more
DEEPEST = 64  # folders in an address that may be the image folder's own
_FAR = re.compile(r"^(?!file://)([a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)
_LOCAL, _UPLOADED = "/data/local-files/", "/data/upload/"  # how Label Studio names images it shows
_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")  # before the name of a file that was uploaded to it
_SAMPLE = re.compile(r"[0-9a-f]{64}")


class Absent(NamedTuple):
    """Why a name stands for no sample."""

    reason: str
    detail: str


@dataclass(frozen=True)
class IngestedImages:
    """What became of the images that a label file names."""

    samples: dict[str, str | Absent]  # by name: the sample, or why there is none
    added: int  # samples that are new


def take_images(
    engine: Engine,
    workspace: Workspace,
    names: Sequence[str],
    *,
    folder: Path,
    allow_outside: bool = False,
    processes: int = 1,
    audit: AuditPolicy = USUAL_AUDIT,
) -> IngestedImages:
    """Ingest the images of these names, relative to `folder`; one without a file stays out.

    A file outside `folder`, by its path or through a link, is taken only with `allow_outside`. An
    image that was ingested before needs no file any more. Our own exported images are known by
    name and content: they are the samples they were made of, not new ones.
    """
    located = find_files(names, folder, allow_outside=allow_outside)
    files = {name: path for name, path in located.items() if isinstance(path, str)}
    with engine.connect() as connection:
        exported = _exported(connection, files)
    paths = sorted({path for name, path in files.items() if name not in exported})
    added = 0
    if paths:
        files_to_read = [Path(path) for path in paths]
        added = ingest(engine, workspace, files_to_read, processes=processes, audit=audit).added
    with engine.connect() as connection:
        paths_by_name = {name: _path(folder, name, located) for name in located}
        outcomes = _outcomes(connection, paths_by_name)
    lost = dict.fromkeys(files, Absent("NO_SUCH_IMAGE", "it vanished meanwhile; import again"))
    return IngestedImages({**located, **lost, **outcomes, **exported}, added)


def ingested_images(
    connection: Connection, names: Iterable[str], folder: Path
) -> dict[str, str | Absent]:
    """The sample that each name stands for, of images that were ingested already."""
    located = find_files(names, folder)
    outcomes = _outcomes(connection, {name: _path(folder, name, located) for name in located})
    absent = {name: _not_ingested(name, place, folder) for name, place in located.items()}
    return {**absent, **outcomes}


def _not_ingested(name: str, place: str | Absent, folder: Path) -> Absent:
    """Why a name stands for no sample where no other folder can be named for it."""
    if isinstance(place, str):
        return Absent("NOT_INGESTED", f"{short(name)} was not ingested; ingest it first")
    if place.reason == "NO_SUCH_IMAGE":
        detail = f"{short(name)} is no file below {folder}; correct the name, or ingest its folder"
        return Absent(place.reason, detail)
    return place


def find_files(
    names: Iterable[str], folder: Path, *, allow_outside: bool = False
) -> dict[str, str | Absent]:
    """The file that each name means; two names may mean one file only when both are exact.

    A path counts from `folder`. A bare file name, and what Label Studio makes of a path, may lie
    anywhere below it. Addresses are not fetched, and what leaves `folder` is not opened unless
    `allow_outside`.
    """
    below = _Below(folder.resolve(), allow_outside)
    located: dict[str, str | Absent] = {}
    inexact: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        exact = below.exact(name)
        located[name] = place = exact or below.similar(name)
        if exact is None and isinstance(place, str):
            inexact[place].append(name)
    for path, rivals in inexact.items():
        if len(rivals) > 1:
            detail = f"{listed(rivals)} all look like {path}; write their paths in full"
            located |= dict.fromkeys(rivals, Absent("AMBIGUOUS", detail))
    return located


def is_sample_id(text: str | None) -> bool:
    """Whether a text looks like the name of a sample."""
    return bool(text and _SAMPLE.fullmatch(text))


@dataclass
class _Below:
    """The files below a folder."""

    folder: Path
    allow_outside: bool

    def exact(self, name: str) -> str | Absent | None:
        """The file at exactly this path."""
        if _FAR.match(name):
            return None
        path = unquote(_split(name).path) if name.startswith("file://") else name
        ways = (path, path.strip(), path.replace("\\", "/"))
        if file := next(filter(None, map(self._file, ways)), None):
            return file
        if not (self.allow_outside or _served(name)) and any(map(self._leaves, ways)):
            detail = f"{short(name)} leads out of {self.folder}"
            return Absent("OUTSIDE", f"{detail}; name a folder above it with --images, or "
                          "--allow-outside if you trust the file")  # fmt: skip
        return None

    def similar(self, name: str) -> str | Absent:
        """The one file that a bare file name or a path of Label Studio's can mean."""
        if _FAR.match(name):
            return Absent("NOT_FETCHED", f"{short(name)} is an address; download it, name the file")
        served = _served(name)
        ends = ("/".join(served[at:]) for at in range(min(len(served), DEEPEST)))
        if as_path := next(filter(None, map(self._file, ends)), None):
            return as_path
        bare = [served[-1], _UPLOAD_MARK.sub("", served[-1])] if served else [name.strip()]
        for file_name in bare:
            if paths := self._by_name.get(file_name, set()):
                return self._only(file_name, paths)
        where = f"{short(name)} is no file; paths count from {self.folder}"
        return Absent("NO_SUCH_IMAGE", f"{where}, name another folder with --images")

    def _only(self, name: str, paths: set[str]) -> str | Absent:
        if len(paths) == 1:
            return next(iter(paths))
        detail = f"{len(paths)} files are called {short(name)}: {listed(sorted(paths))}"
        return Absent("AMBIGUOUS", f"{detail}; write its path in full")

    def _file(self, path: str) -> str | None:
        """The file at this path, links resolved; None where there is none that may be opened."""
        whole = os.path.join(self.folder, path)  # noqa: PTH118 - a Path per name is slow
        if not path or not os.path.isfile(whole):  # noqa: PTH113
            return None
        real = os.path.realpath(whole)
        return real if self.allow_outside or self._is_inside(real) else None

    def _leaves(self, path: str) -> bool:
        """Whether a path leads out of the folder, by its parts or through a link."""
        whole = os.path.join(self.folder, path)  # noqa: PTH118
        if not self._is_inside(os.path.normpath(whole)):
            return True
        return os.path.isfile(whole) and not self._is_inside(os.path.realpath(whole))  # noqa: PTH113

    def _is_inside(self, whole: str) -> bool:
        return whole == str(self.folder) or whole.startswith(os.path.join(self.folder, ""))  # noqa: PTH118

    @cached_property
    def _by_name(self) -> dict[str, set[str]]:
        """Every file by its name, and by the name Label Studio gives it when it is uploaded."""
        paths: dict[str, set[str]] = defaultdict(set)
        for folder, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = os.path.realpath(os.path.join(folder, name))  # noqa: PTH118
                if not (self._is_inside(path) or self.allow_outside):
                    continue
                paths[name].add(path)
                paths[re.sub(r"[^-\w.]", "", name.replace(" ", "_"))].add(path)
        return dict(paths)


def _served(name: str) -> list[str]:
    """The folders and the file in an address below Label Studio's own, none for any other name."""
    parts = _split(name)
    path = parts.path.removeprefix(_UPLOADED) if parts.path.startswith(_UPLOADED) else ""
    if parts.path == _LOCAL:
        path = parse_qs(parts.query).get("d", [""])[0]
    elif path:
        path = unquote(path)
    return [part for part in path.split("/") if part not in ("", ".", "..")]


def _split(name: str) -> SplitResult:
    """The parts of an address; all are empty where no file can have such a name."""
    try:
        return urlsplit(name if len(name) <= LONGEST_NAME else "")
    except ValueError:  # what looks like a host in brackets, or like none
        return urlsplit("")


def _path(folder: Path, name: str, located: dict[str, str | Absent]) -> str:
    """Where the file of a name lies, or would lie."""
    place = located[name]
    path = place if isinstance(place, str) else os.path.realpath(folder / storable(name))
    return ImageFile(path, 0, 0).name


def _exported(connection: Connection, files: dict[str, str]) -> dict[str, str]:
    """The samples whose images, as we wrote them or as they came, lie in these files."""
    stems = {name: Path(path).stem for name, path in files.items()}
    stored = stored_digests(connection, {stem for stem in stems.values() if is_sample_id(stem)})
    return {
        name: stem
        for name, stem in stems.items()
        if stem in stored and file_sha256(Path(files[name])) in (stem, stored[stem])
    }


def _outcomes(connection: Connection, paths: dict[str, str]) -> dict[str, str | Absent]:
    """The sample that the file of each name became, or why it was refused, if it was ingested."""
    outcomes = ingest_outcomes(connection, paths.values())
    return {name: _absent(outcomes[path]) for name, path in paths.items() if path in outcomes}


def _absent(outcome: str | RefusedFile) -> str | Absent:
    if isinstance(outcome, RefusedFile):
        return Absent(outcome.reason, f"{outcome.path}: {outcome.detail}")
    return outcome
