"""SIGKILL after every task of a round: the end is as if nothing had happened."""

import re
from pathlib import Path

import pytest

from tasks.servers import Server
from tests.system.world import ledger, make_world, run_script

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_a_round_killed_after_every_task_ends_as_an_uninterrupted_one(
    tmp_path: Path, prefect_server: Server
) -> None:
    ends = {}
    for how in ("whole", "killed"):
        workspace = make_world(tmp_path / how)
        images = str(tmp_path / how / "images")
        done = run_script(
            workspace,
            "tests.system.one_round",
            images,
            "simulated",
            how,
            PREFECT_API_URL=prefect_server.url,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        ends[how] = ledger(workspace.database)
        kills = int(re.findall(r"killed (\d+) times", done.stdout)[0])
    assert kills > 20, "every task boundary was hit"
    assert ends["killed"] == ends["whole"]
