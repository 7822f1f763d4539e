"""The server of the loop's numbers: who is answered, and what a scrape gets when it cannot read."""

import warnings

import pytest

from tasks.operate.metrics import LastExposition
from tasks.operate.metrics_server import metrics_app, serve_metrics
from tests.tasks.operate.sound_workspace import make_sound_workspace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient


def client(last: LastExposition, token: str | None) -> TestClient:
    return TestClient(metrics_app(last, token), base_url="http://127.0.0.1")


def test_a_scrape_with_the_token_gets_the_text_and_others_nothing() -> None:
    asked = client(LastExposition(lambda: b"hone_labels 1\n"), "secret")
    assert asked.get("/metrics").status_code == 401
    answer = asked.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert (answer.status_code, answer.content) == (200, b"hone_labels 1\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_what_cannot_be_read_is_a_target_that_is_down() -> None:
    def fail() -> bytes:
        raise OSError("the database is away\nat all")

    answer = client(LastExposition(fail), "secret").get(
        "/metrics", headers={"Authorization": "Bearer secret"}
    )
    assert (answer.status_code, answer.text) == (503, "OSError: the database is away at all\n")


def test_it_opens_to_other_machines_with_a_token_only(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_sound_workspace(tmp_path_factory.mktemp("open") / "work")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    with pytest.raises(ValueError, match="HONE_SERVICE_TOKEN is not set"):
        serve_metrics("0.0.0.0", 0)
