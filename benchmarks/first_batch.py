"""How long does the first batch of a new workspace take, from `hone label` to its tasks sent?

    PYTHONPATH=. python benchmarks/first_batch.py FOLDER_OR_ZIP [--threads 2] [--json FILE]

Point it at a folder of images with one folder for each class, or at a ZIP of one. A workspace is
made and filled by `hone init` and `hone ingest`; then `hone label` chooses 50 images of all and
sends them to simulated annotators, each command in a process of its own, as a user gives it. The
first line is the first batch with all features to compute. Then the database is put back as it was
before, and the same command chooses the first batch again from the features on the disk.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from ingest import prepare
from sqlalchemy import select

from core.database import connect
from core.workspace import load_workspace
from labeling.ingest.files import files_under
from labeling.ledger.tables import sources
from labeling.simulation import Annotator, save_simulation

DATABASE = "hone.sqlite"
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """One command: on the clock, and of all processors."""

    what: str
    images: int
    seconds: float
    processor: float
    load: float


def main() -> None:
    """Fill a workspace, choose the first batch twice, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a folder of images, or a ZIP of one")
    parser.add_argument("--limit", type=int, default=10_000, help="images, evenly spread")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=32, help="of the workspace")
    parser.add_argument("--json", type=Path, help="a line for each run is added to it")
    parser.add_argument("--keep", type=Path, help="a new folder for the workspace, which stays")
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="hone-benchmark-") as made:
        scratch = given.keep or Path(made)
        scratch.mkdir(parents=True, exist_ok=True)
        folder = prepare(given.source, scratch, given.limit)
        files = files_under([folder])[0]
        classes = sorted({Path(file.path).parent.name for file in files})
        home = scratch / "workspace"
        environment = {
            **os.environ,
            "HONE_THREADS": str(given.threads),
            "HONE_WORKSPACE": str(home),
            "WANDB_MODE": "offline",
        }
        init = ("init", str(home), "--classes", ",".join(classes))
        hone(*init, "--image-size", str(given.image_size), environment=environment)
        runs.append(timed("ingest", len(files), ("ingest", str(folder)), environment))
        simulate(home)
        before = {path.name: path.read_bytes() for path in home.glob(f"{DATABASE}*")}
        head = (home / "journal-head.json").read_bytes()
        label = ("label", "--annotators", "simulated")
        runs.append(timed("first batch, features to compute", len(files), label, environment))
        for path in home.glob(f"{DATABASE}*"):
            path.unlink()
        for name, content in before.items():
            (home / name).write_bytes(content)
        (home / "journal-head.json").write_bytes(head)
        runs.append(timed("first batch, features cached", len(files), label, environment))
        if given.keep is None:
            shutil.rmtree(home)
    print("| | images | seconds | processor seconds | load |\n|---|---|---|---|---|")
    for run in runs:
        print(
            f"| {run.what} | {run.images:,} | {run.seconds:.1f} | {run.processor:.1f} "
            f"| {run.load:.1f} |"
        )
    if given.json:
        with given.json.open("a") as file:
            file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)


def simulate(home: Path) -> None:
    """Annotators who know the class of each image: the name of its folder."""
    engine = connect(load_workspace(home).database)
    with engine.connect() as connection:
        rows = connection.execute(select(sources.c.sample_id, sources.c.path)).tuples()
        truths = {sample_id: Path(path).parent.name for sample_id, path in rows}
    engine.dispose()
    save_simulation(home, pd.Series(truths), [Annotator("ann", 0.0)], seed=0)


def timed(what: str, images: int, command: tuple[str, ...], environment: dict[str, str]) -> Run:
    """What a command took; an error of it ends the benchmark."""
    load = os.getloadavg()[0]
    began, before = time.monotonic(), children_seconds()
    hone(*command, environment=environment)
    return Run(
        what,
        images,
        round(time.monotonic() - began, 2),
        round(children_seconds() - before, 2),
        round(load, 1),
    )


def hone(*command: str, environment: dict[str, str]) -> None:
    """Run a command of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "flows", *command], cwd=REPOSITORY, env=environment, check=True
    )


def children_seconds() -> float:
    """Processor time of the processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
