"""SIGKILL after every task of a round: the end is as if nothing had happened."""

import re
from pathlib import Path

import pytest

from core.workspace import load_workspace
from labeling.studio import client as exchange
from tasks.demo.servers import LabelStudioServer
from tests.system.world import ledger, make_world, run_script

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]


def test_a_round_killed_after_every_task_ends_as_an_uninterrupted_one(
    document_root: Path, label_studio: LabelStudioServer
) -> None:
    ends = {}
    for how in ("whole", "killed"):
        workspace = make_world(document_root / f"kill-{how}")
        done = run_script(
            workspace,
            "tests.system.one_round",
            str(workspace.root.parent / "images"),
            how,
            LABEL_STUDIO_URL=label_studio.url,
            LABEL_STUDIO_API_KEY=label_studio.api_key,
            LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(document_root),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        ends[how] = ledger(workspace.database) | {"studio": in_studio(label_studio, workspace.root)}
        kills = int(re.findall(r"killed (\d+) times", done.stdout)[0])
    assert kills > 20, "every task boundary was hit"
    assert ends["killed"] == ends["whole"]


def in_studio(server: LabelStudioServer, root: Path) -> list[str]:
    """Every task of the workspace's project: its sample, its round, and how often answered."""
    with exchange.connect(server.url, server.api_key) as studio:
        project = studio.project(load_workspace(root))
        found = studio.client.tasks.list(project=project, fields="all")
        return sorted(
            f"{one.data['sample_id']} {one.data['round']} {one.total_annotations}" for one in found
        )
