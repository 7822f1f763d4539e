"""How fast do images come in, beside merely decoding the same files?

    python benchmarks/ingest.py FOLDER_OR_ZIP [--limit N] [--processes 2] [--picture ingest.png]

Point it at a folder of images of your own, however nested, or at a ZIP of one. `bare` opens and
decodes every file with Pillow in as many processes and keeps nothing; `ingest` is what `hone
ingest` does, from nothing: check, strip, hash, group, shard, database, all fsynced; `again` is a
second ingest of the same folder. They take turns; the table has medians. On a shared machine the
processor time says more than the rate.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from core.database import connect, upgrade
from core.hone_toml import LabelClass
from core.workspace import Workspace
from labeling.ingest.files import files_under
from labeling.ingest.intake import ingest

CLASSES = (LabelClass("a", "1"), LabelClass("b", "2"))
CHUNK = 128


class Run(NamedTuple):
    """One turn: what it took on the clock, and of all processors."""

    seconds: float
    processor: float


def main() -> None:
    """Take turns, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a folder of images, or a ZIP of one")
    parser.add_argument("--limit", type=int, help="take so many files, evenly spread")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=Path("ingest.png"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as made:
        folder = prepare(given.source, Path(made), given.limit)
        files = [found.path for found in files_under([folder])[0]]
        print(f"{len(files)} files, {given.processes} processes, {given.rounds} rounds")
        runs: dict[str, list[Run]] = {"bare": [], "ingest": [], "again": []}
        for number in range(given.rounds):
            home = Path(made) / f"workspace {number}"
            runs["bare"].append(timed(partial(decode_all, files, given.processes)))
            for name in ("ingest", "again"):
                runs[name].append(timed(partial(take_in, folder, home, given.processes)))
            shutil.rmtree(home)
    print_table(runs, len(files))
    draw(runs, len(files), given.picture)


def prepare(source: Path, scratch: Path, limit: int | None) -> Path:
    """The folder to read: the one named, what was in the ZIP, or a spread-out part of either."""
    folder = source
    if zipfile.is_zipfile(source):
        folder = scratch / "unzipped"
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)
    if limit is None:
        return folder
    files = files_under([folder])[0]
    for number in range(min(limit, len(files))):
        path = Path(files[number * len(files) // min(limit, len(files))].path)
        target = scratch / "part" / path.relative_to(folder.resolve())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return scratch / "part"


def timed(work: Callable[[], object]) -> Run:
    """How long `work` took."""
    began, before = time.monotonic(), processor_seconds()
    work()
    return Run(time.monotonic() - began, processor_seconds() - before)


def processor_seconds() -> float:
    """Processor time of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def decode_all(files: list[str], processes: int) -> None:
    """Decode every file and keep nothing."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap(decode, chunks):
            pass
        pool.close()
        pool.join()


def decode(paths: list[str]) -> None:
    """What a reader that checks nothing does."""
    for path in paths:
        try:
            with Image.open(path) as picture:
                picture.load()
        except OSError:
            continue


def take_in(folder: Path, home: Path, processes: int) -> None:
    """Ingest into the workspace at `home`, made when it is not there."""
    home.mkdir(exist_ok=True)
    workspace = Workspace(root=home, title="", purpose="", classes=CLASSES, image_size=32)
    engine = connect(workspace.database)
    upgrade(engine)
    ingest(engine, workspace, [folder], processes=processes)
    engine.dispose()


def print_table(runs: dict[str, list[Run]], count: int) -> None:
    """The medians, and what each costs beside the bare decoding."""
    bare = statistics.median(run.seconds for run in runs["bare"])
    print("| | seconds | images/s | of the bare rate | processor ms per image |")
    print("|---|---|---|---|---|")
    for name, turns in runs.items():
        seconds = statistics.median(run.seconds for run in turns)
        processor = 1000 * statistics.median(run.processor for run in turns) / count
        print(
            f"| {name} | {seconds:.2f} | {count / seconds:,.0f} | {bare / seconds:.2f} "
            f"| {processor:.3f} |"
        )
    ours, readers = (
        resource.getrusage(who).ru_maxrss // 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"peak memory: {ours} MiB in the writer, at most {readers} MiB in a reader")


def draw(runs: dict[str, list[Run]], count: int, picture: Path) -> None:
    """Images per second of every turn."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(6, 2.5), layout="constrained")).subplots()
    for name, turns in reversed(runs.items()):
        axes.scatter([count / run.seconds for run in turns], [name] * len(turns))
    axes.set_xscale("log")
    axes.set_xlabel("images per second")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(picture, dpi=150)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
