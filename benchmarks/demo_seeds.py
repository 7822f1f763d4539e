"""Is choosing better than chance in the demo? The whole demo, once for each seed.

    .venv/bin/python benchmarks/demo_seeds.py [--seeds 5]

Prints a line of JSON for each seed and, at the end, a table of the final round: accuracy on the
audit set with chosen labels and with as many random ones, drift, and recovery. Two to three
minutes a seed on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the demo for each seed and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    facts = {seed: play(seed) for seed in range(seeds)}
    print("seed labels  chosen  random  drift: clean, shifted  shifted images  clean images  time")
    for seed, found in facts.items():
        last, drift, recovery = found["rounds"][-1], found["drift"], found["recovery"]
        seen = f"{drift['clean_window']!s}, {drift['shifted_window']!s}"
        shifted, clean = (
            f"{recovery[f'{what}_before']:.3f} -> {recovery[f'{what}_after']:.3f}"
            for what in ("shifted", "clean")
        )
        scores = f"{last['accuracy']:>7.3f} {last['random_accuracy']:>7.3f}"
        seconds = f"{found['seconds']:>4.0f} s"
        print(f"{seed:>4} {last['labels']:>6} {scores}  {seen:>21}  {shifted}  {clean} {seconds}")
    lasts = [found["rounds"][-1] for found in facts.values()]
    won = sum(last["accuracy"] >= last["random_accuracy"] for last in lasts)
    print(f"chosen at or above random in the final round: {won} of {seeds} seeds")


def play(seed: int) -> dict[str, Any]:
    """The facts of one demo."""
    with tempfile.TemporaryDirectory(prefix="hone-seed-") as folder:
        words = ["demo", "--json", "--seed", str(seed), "--folder", str(Path(folder) / "demo")]
        done = subprocess.run(
            [sys.executable, "-m", "flows", *words], capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"seed {seed}: {done.stderr[-2000:]}")
    line = done.stdout.strip().splitlines()[-1]
    print(line, flush=True)
    return dict(json.loads(line))


if __name__ == "__main__":
    main()
