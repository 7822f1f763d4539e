"""The files in which the workers of a service count, and one fold of those that dead workers left.

A worker counts in files that are named by its process id. A fold is a folder with the sums of
files of dead workers, and the list of those that are in it and not removed yet: it is there whole
or not at all, so that a process that is killed while it folds counts nothing twice.
"""

import fcntl
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prometheus_client.mmap_dict import MmapedDict

LIVE = re.compile(r"gauge_live[a-z]*_(\d+)\.db")  # a worker's file of what is true while it lives
COUNTS = re.compile(r"(counter|histogram)_(\d+)\.db")
FOLD = re.compile(r"fold-(\d+)")
FOLDED = "folded"  # in a fold: the names of files that are in its sums
MAKING = "making"  # a fold that is not complete


@contextmanager
def service_files(folder: Path) -> Iterator[list[str]]:
    """The files whose numbers together are those of the service, while no other process folds."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fold = _fold(folder)
        yield [str(path) for place in (folder, fold) if place for path in place.glob("*.db")]


def fold_dead(folder: Path) -> None:
    """Fold what dead workers counted, and remove what was true of them while they lived."""
    with service_files(folder):
        pass


def started_at(folder: Path) -> float:
    """When the first worker of this service started: the same time for all of them."""
    first = folder / "started"
    first.open("a").close()
    return first.stat().st_mtime


def _fold(folder: Path) -> Path | None:
    """The fold of all that died, the only one; None before the first worker died."""
    for path in folder.glob("gauge_live*.db"):
        if (named := LIVE.fullmatch(path.name)) and not psutil.pid_exists(int(named[1])):
            path.unlink(missing_ok=True)
    old = _newest(folder)
    if old is not None:
        _remove_folded(folder, old)  # of a process that was killed before it did
    dead = [path for path in folder.glob("*.db") if _is_dead(path)]
    if not dead:
        return old
    making = folder / MAKING
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for kind in ("counter", "histogram"):
            files = [path for path in dead if path.name.startswith(kind)]
            files += old.glob(f"{kind}_*.db") if old else []
            _add_up(files, making / f"{kind}_0.db")
        names = "\n".join(path.name for path in dead)
        (making / FOLDED).write_text(names, encoding="utf-8")
    except OSError:
        return old  # the disk is full: the files are read one by one until there is room
    fresh = folder / f"fold-{_number(old) + 1}"
    making.rename(fresh)  # from here on the sums count, and the files do not
    _remove_folded(folder, fresh)
    return _newest(folder)


def _newest(folder: Path) -> Path | None:
    """The newest fold; one before it, whose numbers are in it, is removed."""
    folds = sorted((path for path in folder.iterdir() if FOLD.fullmatch(path.name)), key=_number)
    for path in folds[:-1]:
        shutil.rmtree(path, ignore_errors=True)
    return folds[-1] if folds else None


def _number(fold: Path | None) -> int:
    named = FOLD.fullmatch(fold.name) if fold is not None else None
    return int(named[1]) if named else 0


def _remove_folded(folder: Path, fold: Path) -> None:
    """Remove the files that are in a fold; a new worker may get the process id of a dead one."""
    listed = fold / FOLDED
    for name in listed.read_text(encoding="utf-8").split():
        (folder / name).unlink(missing_ok=True)
    listed.write_text("", encoding="utf-8")


def _is_dead(path: Path) -> bool:
    named = COUNTS.fullmatch(path.name)
    return named is not None and not psutil.pid_exists(int(named[2]))


def _add_up(files: list[Path], target: Path) -> None:
    sums: defaultdict[str, float] = defaultdict(float)
    for path in files:
        values = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        for key, value, _, _ in values:
            sums[key] += value
    made = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        made.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    made.close()  # type: ignore[no-untyped-call]
