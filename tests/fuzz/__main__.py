"""`python -m tests.fuzz --minutes 30 --seed 7`: a long campaign over all targets, or some.

Each target runs in a process of its own with bounded memory, for its share of the time. Printed is
what became of the inputs; each crash is written to a file, to go into tests/fuzz/corpus once it is
mended.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import run
from tests.fuzz.targets import TARGETS

MEMORY = 8 * 2**30  # of address space; the libraries map about 5 GiB
MANY = 10**9


def main() -> int:
    """Run the campaign; 1 if there was a crash."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--target", action="append", choices=TARGETS, dest="targets")
    options.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"))
    options.add_argument("--here", action="store_true", help="in this process: one target")
    given = options.parse_args()
    targets = given.targets or list(TARGETS)
    if given.here:
        return run_here(
            targets[0], seed=given.seed, seconds=given.minutes * 60, crashes=given.crashes
        )
    share = given.minutes / len(targets)
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--seed", str(given.seed),
               "--crashes", str(given.crashes), "--minutes", str(share)]  # fmt: skip
    codes = [
        subprocess.run([*command, "--target", name], check=False).returncode for name in targets
    ]
    for name, code in zip(targets, codes, strict=True):
        if code not in (0, 1):
            print(f"{name}: the process ended with {code}; its last input is in {given.crashes}")
    return int(any(codes))


def run_here(name: str, *, seed: int, seconds: float, crashes: Path) -> int:
    """Run one target in this process, its memory bounded; 1 if there was a crash."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    until = time.process_time() + seconds
    tally = run(name, seed=seed, inputs=MANY, goes_on=lambda: time.process_time() < until)
    print(f"{name}: {tally.inputs:,} inputs, {len(tally.crashes)} crashes")
    for outcome, count in tally.outcomes.most_common(12):
        print(f"    {count:8,} {outcome}")
    for crash in tally.crashes.values():
        crashes.mkdir(parents=True, exist_ok=True)
        (crashes / crash.name).write_bytes(crash.content)
        print(f"    {crashes / crash.name}: {json.dumps(crash.problem)}", flush=True)
    return int(bool(tally.crashes))


if __name__ == "__main__":
    sys.exit(main())
