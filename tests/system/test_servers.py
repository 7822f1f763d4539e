"""Servers that we start answer when they say so, and are gone afterwards."""

import httpx
import pytest
from sqlalchemy import text

from core.database import connect
from tasks.demo import servers

pytestmark = pytest.mark.system


def test_a_server_that_dies_is_an_error_with_the_end_of_its_log(tmp_path):
    broken = tmp_path / "label-studio"
    broken.write_text("#!/bin/sh\necho the disk is full\nexit 3\n")
    broken.chmod(0o755)
    with (
        pytest.raises(RuntimeError, match=r"ended with 3 before it was ready(.|\n)*disk is full"),
        servers.label_studio(broken, tmp_path / "state", tmp_path / "files"),
    ):
        pass


def test_label_studio_knows_its_user_and_shows_no_file_without_a_storage(label_studio):
    token = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=token) as client:
        assert client.get("/api/current-user/whoami").json()["email"] == label_studio.username
        assert client.get("/data/local-files/?d=any.png").status_code == 404


def test_a_postgres_takes_connections_and_is_gone_afterwards(postgres, postgres_server):
    with connect(postgres).connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) in postgres


def test_a_prefect_server_and_its_worker_answer_and_are_gone_afterwards(prefect_server, tmp_path):
    with servers.prefect_worker(prefect_server.url, pool="test-pool", folder=tmp_path) as worker:
        pools = httpx.post(f"{prefect_server.url}/work_pools/filter", json={}).json()
        assert [pool["type"] for pool in pools if pool["name"] == "test-pool"] == ["process"]
    assert "stopped!" in worker.log.read_text()  # it was asked to end, and did
