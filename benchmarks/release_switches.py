"""Releases, canaries and rollbacks under load, and workers that are killed: what fails, how soon.

    python benchmarks/release_switches.py --switches 100 --kills 20

starts `bentoml serve` with two workers, asks it with four clients, changes what is served and
waits each time until both workers follow; then it kills one worker after the other. It prints the
seconds until a change was followed, what failed and the longest time without an answer, and exits
1 when a request failed or a change took two seconds or more.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.load import switches  # noqa: E402

FOLLOWED = 2.0  # seconds within which every worker follows


def main() -> None:
    """Run, print, and exit 1 when the promise is broken."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--switches", type=int, default=100)
    words.add_argument("--kills", type=int, default=20)
    words.add_argument("--halts", type=int, default=5)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-switches-") as folder:
        broken = run(Path(folder), given.switches, given.kills, given.halts)
    sys.exit(1 if broken else 0)


def run(folder: Path, count: int, kills: int, halts: int) -> bool:
    """Whether a request failed, or a change was followed late."""
    from benchmarks import load_run
    from core.database import connect
    from tasks.demo import servers

    load_run._keep_quiet(folder)
    workspace, (first, second) = load_run._make_workspace(folder / "workspace")
    engine, images = connect(workspace.database), _images()
    switches.release(engine, version=first, verdict_id=None, override=True, expected=0,
                     **switches.WHO)  # fmt: skip
    environment = {"HONE_WORKSPACE": str(workspace.root), "HONE_WORKERS": "2"}
    with servers.bentoml(REPOSITORY, folder, {**os.environ, **environment}) as server:
        switches.seconds_to_follow(server.url, 1)
        following = switches.changes(engine, first, second)
        with switches.clients(server.url, images) as traffic:
            seconds = sorted(
                switches.seconds_to_follow(server.url, next(following)()) for _ in range(count)
            )
        halting = [switches.seconds_to_halt(engine, server.url, images) for _ in range(halts)]
        with switches.clients(server.url, images) as killed:
            for _ in range(kills):
                switches.seconds_until_replaced(server.url, switches.kill_one(server.url))
    print(
        f"{count} changes under load: followed after {statistics.median(seconds):.2f} s (median), "
        f"{seconds[-1]:.2f} s (longest); {traffic.answered:,} requests, {len(traffic.failed)} "
        f"failed; longest time without an answer {traffic.longest_gap:.2f} s"
    )
    print(f"{halts} halts: followed after {', '.join(f'{one:.2f}' for one in halting)} s")
    print(
        f"{kills} workers killed: {killed.answered:,} requests, {killed.retried} asked again, "
        f"{len(killed.failed)} failed; longest time without an answer {killed.longest_gap:.2f} s"
    )
    for problem in [*traffic.failed, *killed.failed][:10]:
        print(f"  {problem}")
    late = [one for one in [*seconds, *halting] if one >= FOLLOWED]
    return bool(traffic.failed or killed.failed or late)


def _images() -> list[bytes]:
    from tests.models.saved_models import png

    return [png(seed, side=64) for seed in range(200)]


if __name__ == "__main__":
    main()
