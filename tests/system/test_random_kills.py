"""SIGKILL at a hundred random moments inside the steps of the loop: the end is always the same."""

import json
from pathlib import Path

import pytest

from core.workspace import Workspace
from tasks.demo.servers import LabelStudioServer
from tests.system.world import check_status, run_script

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]
KILLS = 100  # `python -m tests.system.random_kills --kills 1000 --seed N` is the long form


def test_killed_at_random_moments_every_step_ends_as_an_uninterrupted_one(
    document_root: Path, label_studio: LabelStudioServer
) -> None:
    nobody = Workspace(document_root, "none", "", (), image_size=8)
    done = run_script(
        nobody, "tests.system.random_kills", "--kills", str(KILLS), "--seed", "0",
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.api_key,
        LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(document_root),
    )  # fmt: skip
    check_status(done)
    print(done.stdout)
    kills = json.loads(done.stdout.splitlines()[-1])
    assert sum(kills.values()) >= KILLS and min(kills.values()) > 5
