"""What the watch promises and what it sees, on CIFAR-10 JPEGs and Fashion-MNIST.

    python -m benchmarks.watching quarters --sets CIFAR.zip /usr/share/datasets/fashion-mnist
    python -m benchmarks.watching shifts|power|cost|kinds|estimate|mmd --sets ...

A set is a ZIP or folder of `<class>/<file>`, or the folder of Debian's dataset-fashion-mnist; two
are needed, because each lends the other its strange images. `--lite` and `--cache`: see
`watch/features.py`. Development used other images and seeds (`--use development`).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.watch import cost, estimate, kinds, mmd, power, quarters, shifts
from benchmarks.watch.features import Sizes, pools
from benchmarks.watch.peers import PEERS

COMMANDS = {
    "quarters": quarters.measure,
    "shifts": shifts.measure,
    "power": power.measure,
    "cost": cost.measure,
    "kinds": kinds.measure,
    "estimate": estimate.measure,
    "mmd": mmd.measure,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure one thing on each of the sets and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--sets", type=Path, nargs=2, required=True, metavar="PATH")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hone-watching")
    parser.add_argument("--lite", type=Path, help="where EfficientNet-Lite0 was installed")
    parser.add_argument("--lives", type=int, default=8, help="of each set and kind of traffic")
    parser.add_argument("--hours", type=int, default=2160, help="of a quarter")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--use", choices=("development", "report"), default="report")
    parser.add_argument("--images", type=int, help="a number for a quick try")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    few = given.images
    sizes = Sizes(few, few // 2, few // 4, few // 2, few) if few else Sizes()
    one, other = given.sets
    for source, strange in ((one, other), (other, one)):
        development, report = pools(source, strange, given.cache, given.lite, sizes)
        pool = report if given.use == "report" else development
        print(f"\n{source.stem}, {given.use}", flush=True)
        COMMANDS[given.command](pool, given)


if __name__ == "__main__":
    main()
