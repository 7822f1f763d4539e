"""What a command prints on a Prefect server: its own lines, and nothing of Prefect's."""

from pathlib import Path

import pytest

from tasks.demo.servers import Server
from tests.system.world import hone, make_world

pytestmark = pytest.mark.system


def test_a_successful_command_prints_its_own_lines_only(
    tmp_path: Path, prefect_server: Server
) -> None:
    workspace = make_world(tmp_path, images=30)
    images = workspace.root.parent / "images"
    url = prefect_server.url
    ingested = hone(workspace, "ingest", str(images), PREFECT_API_URL=url)
    assert ingested.stdout.splitlines() == [f"{images}: 30 added, 0 known, refused: none"], (
        ingested.stderr
    )
    simulated = ("--annotators", "simulated")
    labelled = hone(
        workspace, "label", "--size", "10", "--audit-share", "0.5", *simulated, PREFECT_API_URL=url
    )
    collected = hone(workspace, "collect", *simulated, PREFECT_API_URL=url)
    for done in (ingested, labelled, collected):
        assert done.stderr == ""
        for of_prefect in (
            "prefect",
            "Created task run",
            "Finished in state",
            "Warning",
            "Traceback",
        ):
            assert of_prefect not in done.stdout
    assert "round-0001: 10 of 20 chosen" in labelled.stdout  # the others are the audit
