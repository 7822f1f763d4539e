"""Beside real servers no secret lies where it is read: logs, files, answers, command lines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from core.child_environment import SECRETS
from core.workspace import Workspace
from labeling.studio import client as exchange
from tasks.demo.servers import LabelStudioServer, Server, bentoml, free_port
from tests.models.saved_models import make_workspace, png, put_in_service, save
from tests.source_code import ROOT
from tests.system.deployments import call_api, deploy, working
from tests.system.test_webhook import SECRET, answer, receiving
from tests.system.world import make_world, run_script

pytestmark = pytest.mark.system

BACKEND_SECRET, MISTYPED = "only-the-service-knows", "0badc0de" * 5


def test_no_token_and_no_secret_is_written_down_anywhere(
    document_root: Path, label_studio: LabelStudioServer, prefect_server: Server
) -> None:
    workspace = make_world(document_root / "secrets", images=12)
    told = {
        "PREFECT_API_URL": prefect_server.url,
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
        "HONE_WEBHOOK_SECRET": SECRET,
        "HONE_BACKEND_URL": f"http://127.0.0.1:{free_port()}/label-studio",  # nobody answers
        "HONE_BACKEND_SECRET": BACKEND_SECRET,
        "PREFECT_HOME": str(workspace.root.parent / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }
    said = play(workspace, label_studio, prefect_server, told)
    said["a mistyped token"] = run(workspace, "label", **told | {"LABEL_STUDIO_API_KEY": MISTYPED})
    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        said["tasks"] = shown(label_studio, studio.project(workspace))
    for folder in (workspace.root.parent, prefect_server.log.parent):
        said |= {str(path): read(path) for path in folder.rglob("*") if path.is_file()}
    everything = b"".join(said.values())
    assert b"round-0001" in everything and b"does not accept LABEL_STUDIO_API_KEY" in everything
    secrets = (label_studio.api_key, SECRET, BACKEND_SECRET, MISTYPED)
    leaks = [(where, s[:6]) for where, text in said.items() for s in secrets if s.encode() in text]
    assert leaks == []


def test_a_worker_writes_no_secret_into_logs_artifacts_and_runs(
    tmp_path: Path, prefect_server: Server
) -> None:
    workspace = make_world(tmp_path, images=12)
    deployed = deploy(workspace, prefect_server.url)
    deployed.pause_schedules()
    used = {name for name in SECRETS if name.startswith("PREFECT_")} | {"HONE_DATABASE_URL"}
    canaries = {name: f"canary-{name}-of-the-worker" for name in SECRETS - used - {"HONE_ALERTS"}}
    told = {"WANDB_MODE": "offline", "PREFECT_LOGGING_LEVEL": "DEBUG", **canaries}
    with working(deployed, workspace, **told):
        run = deployed.run("ingest", folders=[str(tmp_path / "images")], processes=1)
    said = {
        kind: json.dumps(call_api(deployed.api_url, f"{kind}/filter")).encode()
        for kind in ("logs", "flow_runs", "task_runs", "artifacts")
    }
    for folder in (tmp_path, prefect_server.log.parent):
        said |= {str(path): read(path) for path in folder.rglob("*") if path.is_file()}
    assert run["name"].encode() in said["flow_runs"]
    assert b"12 added" in b"".join(said.values())  # in the server's database, with all its logs
    assert [where for where, text in said.items() if b"canary-" in text] == []


def play(
    workspace: Workspace, server: LabelStudioServer, prefect: Server, told: dict[str, str]
) -> dict[str, bytes]:
    """One round, answered while the webhook listens; what the commands said."""
    said = {"ingest": run(workspace, "ingest", str(workspace.root.parent / "images"), **told)}
    said["label"] = run(workspace, "label", "--size", "4", **told)
    with (
        receiving(workspace, server, prefect, **told),
        exchange.connect(server.url, server.api_key) as studio,
    ):
        studio.project(workspace)
        for task in studio.client.tasks.list(project=studio.project_id):
            answer(studio, task.id, "1")
        said["collect"] = run(workspace, "collect", **told)
    said["status"] = run(workspace, "status", "--json", **told)
    assert json.loads(said["status"])["labels"] == 4
    return said


def run(workspace: Workspace, *words: str, **told: str) -> bytes:
    """What a command says, whether it ends well or not."""
    done = run_script(workspace, "flows", *words, **told)
    return (done.stdout + done.stderr).encode()


def shown(server: LabelStudioServer, project: int) -> bytes:
    """Everything of a project and its tasks that an annotator's browser is sent."""
    token = {"Authorization": f"Token {server.api_key}"}
    asked = {"project": str(project), "fields": "all", "page_size": "100"}
    with httpx.Client(base_url=server.url, headers=token, timeout=60) as browser:
        tasks = browser.get("/api/tasks", params=asked).json()
        assert tasks["total"] == 4
        return json.dumps([tasks, browser.get(f"/api/projects/{project}").json()]).encode()


def read(path: Path) -> bytes:
    """The bytes of a file, none of one that was gone again before it was read."""
    return path.read_bytes() if path.exists() else b""


def command_lines() -> bytes:
    """The command lines of this process's children, as `ps` shows them to everybody."""
    children = psutil.Process().children(recursive=True)
    return "\n".join(word for child in children for word in child.cmdline()).encode()


def test_the_service_repeats_no_secret_to_whom_it_refuses(tmp_path: Path) -> None:
    workspace, engine = make_workspace(tmp_path / "workspace")
    put_in_service(engine, save(workspace, engine))
    canaries = {name: f"canary-{name}-of-the-service" for name in SECRETS - {"HONE_DATABASE_URL"}}
    wrong = "canary-that-nobody-knows"
    told = {"HONE_WORKSPACE": str(workspace.root), **canaries}
    bearer, basic = canaries["HONE_SERVICE_TOKEN"], canaries["HONE_BACKEND_SECRET"]
    image = {"images": ("a.png", png())}
    truth = {"prediction_id": "7" * 32, "truth": "cat"}
    with bentoml(ROOT, tmp_path / "serve", told) as server:
        with httpx.Client(base_url=server.url, timeout=60) as line:
            refused = [
                line.post("/predict", files=image),
                line.post("/feedback", json=truth),
                line.post("/predict", files=image, headers={"Authorization": f"Bearer {wrong}"}),
                line.get("/metrics", headers={"Authorization": f"Bearer {bearer}x"}),
                line.get("/label-studio/health", auth=("hone", wrong)),
            ]
            line.headers["Authorization"] = f"Bearer {bearer}"
            answered = [
                line.post("/predict", files=image), line.get("/status"), line.get("/metrics"),
                line.post("/feedback", json=truth),
                line.get("/docs.json"), line.get("/label-studio/health", auth=("hone", basic)),
            ]  # fmt: skip
            assert httpx.get(f"{server.url}/livez").status_code == 200
        said = {"command lines": command_lines()}
    assert [reply.status_code for reply in refused] == [401] * 5
    assert [reply.status_code for reply in answered] == [200] * 6
    assert b"bentoml" in said["command lines"]
    said |= {str(reply.url): reply.content for reply in (*refused, *answered)}
    said |= {str(path): read(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert b"sent no HONE_SERVICE_TOKEN and was refused" in b"".join(said.values())
    assert [where for where, text in said.items() if b"canary-" in text] == []


def test_a_service_open_to_others_does_not_start_with_a_weak_token(tmp_path: Path) -> None:
    workspace, _ = make_workspace(tmp_path / "workspace")
    told = {"HONE_WORKSPACE": str(workspace.root), "HONE_SERVICE_TOKEN": "canary"}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", "--host", "0.0.0.0", "--port", "1"],
        cwd=ROOT, env=os.environ | told, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode != 0
    assert "HONE_SERVICE_TOKEN has 6 characters" in done.stderr
    assert "canary" not in done.stdout + done.stderr
