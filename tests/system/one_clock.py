"""The loop played by a clock of its own: `python -m tests.system.one_clock FOLDER YEAR`.

Prints what the workspace then holds, without where it lies.
"""

import json
import random
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import core.database
from tasks.context import open_context
from tasks.direct_run import direct_runs
from tests.system.loop_state import frozen, ledger, stored
from tests.system.loop_steps import collect, ingest, label, prepare, train


def set_clock(year: int) -> None:
    """Let time begin in a year and go on by leaps, for all that writes times into the database."""
    rng = random.Random(year)

    class Clock(datetime):
        at = datetime(year, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            Clock.at += timedelta(microseconds=rng.randint(1, 10**7))
            return cls.fromtimestamp(Clock.at.timestamp(), tz)

    vars(core.database)["datetime"] = Clock


if __name__ == "__main__":
    home = Path(sys.argv[1])
    set_clock(int(sys.argv[2]))
    prepare(home)
    with direct_runs():
        ingest(home)
        label(1, home, "simulated")
        collect(home, "simulated")
        collect(home, "simulated")  # nothing is new: no second snapshot
        train(home)
    ctx = open_context()
    state = ledger(ctx) | {"snapshots in git": frozen(ctx), "models on disk": stored(ctx)}
    del state["sources"]  # has the paths
    print(json.dumps(state))
