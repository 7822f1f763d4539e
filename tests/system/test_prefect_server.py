"""What a Prefect server of this environment brings along."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
START = """
import asyncio, sys
from prefect.server.api.server import create_app

async def start():
    app = create_app()
    async with app.router.lifespan_context(app):
        print("tasks.operate.prefect_sqlite" in sys.modules)

asyncio.run(start())
"""


def test_a_server_that_has_started_closes_cursors_of_failed_statements(
    prefect_template: Path, tmp_path: Path
) -> None:
    shutil.copytree(prefect_template, tmp_path / "server")
    started = subprocess.run(
        [sys.executable, "-c", START],
        env=os.environ | {"PREFECT_HOME": str(tmp_path / "server")},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert started.stdout.splitlines()[-1:] == ["True"], started.stderr[-2000:]
