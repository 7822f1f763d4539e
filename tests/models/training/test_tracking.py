"""The record of a training is ours; W&B mirrors it, offline, and its failures cost one warning."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.training.tracking import add_verdict, tracked_run

CONFIG = {"snapshot": "snapshot-0001", "commit": "abc", "seed": 3, "strategy": "margin"}
KEY = "a-key-that-must-not-leak" * 2

WHOLE_RUN = f"""
from pathlib import Path
import numpy as np
from models.training.tracking import add_verdict, tracked_run

with tracked_run(Path("runs"), "one", {CONFIG}) as run:
    run.log({{"epoch": 1, "train_loss": 2.0}})
    run.confusion(np.eye(2, dtype=int), ["cat", "dog"])
    run.mistakes([np.zeros((8, 8, 3), np.uint8)], ["a cat, not a dog"])
    Path("weights.bin").write_bytes(b"w" * 1000)
    run.model("hone", [Path("weights.bin")], version="hone:0001")
    run.summarise(accuracy=0.9, version="hone:0001")
for again in range(2):
    figures = {{"outcome": "PROMOTE", "reported/pool/accuracy": 0.875}}
    add_verdict(Path("runs"), "hone:0001", figures)
"""
KILLED_MIRROR = f"""
import os, subprocess
from pathlib import Path
from models.training.tracking import tracked_run

with tracked_run(Path("runs"), "one", {CONFIG}) as run:
    children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())],
                              capture_output=True, text=True).stdout
    core = next(line.split()[0] for line in children.splitlines() if "wandb-core" in line)
    os.kill(int(core), {int(signal.SIGKILL)})
    for epoch in range(200):
        run.log({{"epoch": epoch}})
    run.summarise(accuracy=0.9)
"""


WITH_A_KEY = f"""
import os
from pathlib import Path
from models.training import tracking

tracking.INIT_SECONDS = 1
key = os.environ["WANDB_API_KEY"]
for name, online in (("offline", False), ("unreachable", True)):
    with tracking.tracked_run(Path("runs"), name, {CONFIG}, online=online, api_key=key) as run:
        run.log({{"epoch": 1}})
        run.summarise(version="hone:" + name)
    tracking.add_verdict(
        Path("runs"), "hone:" + name, {{"outcome": "HOLD"}}, api_key=key if online else None
    )
"""


def run_apart(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own, in `folder`, with an empty home."""
    (folder / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment = {
        **kept,
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        **variables,
    }
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Unreachable:
    """Stands for W&B where it breaks: everything asked of it raises, and is counted."""

    def __init__(self):
        self.asked = 0

    def __getattr__(self, name):
        def fail(*given, **named):
            self.asked += 1
            raise ConnectionResetError("core is gone")

        return fail

    offline = True
    dir = "/nowhere/run/files"


@pytest.fixture(autouse=True)
def environment_put_back(monkeypatch):
    for name in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ERROR_REPORTING", "DEBUG"):
        monkeypatch.setenv(f"WANDB_{name}", "")


@pytest.fixture
def no_mirror(monkeypatch):
    monkeypatch.setattr("models.training.tracking._open_mirror", lambda *given: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    ended = run_apart(WHOLE_RUN, folder)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_a_run_is_recorded_in_our_files(whole):
    folder = whole / "runs" / "one"
    assert metrics(folder) == [{"epoch": 1, "train_loss": 2.0}]
    assert json.loads((folder / "config.json").read_text()) == CONFIG
    told = summary(folder)
    assert told["state"] == "finished" and told["accuracy"] == 0.9
    assert told["confusion"] == {"classes": ["cat", "dog"], "counts": [[1, 0], [0, 1]]}
    assert told["mistakes"] == ["a cat, not a dog"]


def test_it_is_mirrored_to_an_offline_run_that_can_be_synced(whole):
    mirror = Path(summary(whole / "runs" / "one")["mirrored_to"])
    assert mirror.name.startswith("offline-run-")
    assert list(mirror.glob("*.wandb"))
    assert list(mirror.rglob("mistakes*.png"))
    inspected = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(mirror)],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    for expected in ("snapshot-0001", "train_loss", "artifact", "hone:0001", "accuracy"):
        assert expected in inspected


def test_the_figures_of_a_verdict_stand_beside_its_model(whole):
    told = summary(whole / "runs" / "one")
    assert told["verdict"] == {"outcome": "PROMOTE", "reported/pool/accuracy": 0.875}
    assert told["accuracy"] == 0.9
    trained = Path(told["mirrored_to"])
    [judged] = [one for one in trained.parent.glob("offline-run-*") if one.name != trained.name]
    inspected = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(judged)],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    for expected in ("one-verdict", "hone:0001", "reported/pool/accuracy", "0.875"):
        assert expected in inspected


def test_a_model_that_no_run_here_trained_gets_no_figures(whole, tmp_path):
    assert add_verdict(whole / "runs", "hone:0002", {}) is None
    assert add_verdict(tmp_path / "none", "hone:0001", {}) is None


def test_nothing_is_written_to_the_home_folder_or_beside_the_runs(whole):
    assert list((whole / "home").rglob("*")) == []
    assert {path.name for path in whole.iterdir()} == {"home", "runs", "weights.bin"}


def test_a_killed_mirror_costs_one_warning_and_no_metric(tmp_path):
    ended = run_apart(KILLED_MIRROR, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("W&B failed") == 1
    folder = tmp_path / "runs" / "one"
    assert len(metrics(folder)) == 200
    told = summary(folder)
    assert told["state"] == "finished" and "ConnectionResetError" in told["mirror_failed"]


def test_the_first_failure_is_one_warning_and_the_mirror_is_left_alone(
    tmp_path, monkeypatch, caplog
):
    mirror = Unreachable()
    monkeypatch.setattr("models.training.tracking._open_mirror", lambda *given: mirror)
    with caplog.at_level(logging.WARNING), tracked_run(tmp_path, "one", CONFIG) as run:
        for epoch in range(3):
            run.log({"epoch": epoch})
        run.summarise(accuracy=1.0)
    assert mirror.asked == 1
    assert len(caplog.records) == 1
    assert "core is gone" in caplog.text and str(tmp_path / "one") in caplog.text
    assert len(metrics(tmp_path / "one")) == 3


def test_online_is_tried_only_when_asked_for_and_with_a_key(tmp_path, monkeypatch, caplog):
    tried = []

    def refuse(mode, runs, name, config, project, api_key, job):
        tried.append((mode, api_key))
        raise TimeoutError("no answer")

    monkeypatch.setattr("models.training.tracking._init", refuse)
    for online, key in ((False, KEY), (True, None), (True, KEY)):
        with tracked_run(tmp_path, "one", CONFIG, online=online, api_key=key) as run:
            run.log({"epoch": 1})
        assert run.mirrored_to is None
    assert tried == [("offline", None), ("offline", None), ("online", KEY), ("offline", KEY)]
    assert KEY not in caplog.text


def test_a_key_is_written_nowhere_whether_runs_stay_here_or_cannot_be_sent(tmp_path):
    variables = {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline", "WANDB_DEBUG": "true",
                 "WANDB_CORE_DEBUG": "true", "WANDB_BASE_URL": "http://127.0.0.1:9"}  # fmt: skip
    ended = run_apart(WITH_A_KEY, tmp_path, **variables)
    assert ended.returncode == 0, ended.stderr
    assert "W&B failed at starting online" in ended.stderr
    assert KEY not in ended.stdout + ended.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".wandb"]) >= 4
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []


def test_the_key_may_not_be_in_the_config(tmp_path, no_mirror):
    config = {**CONFIG, "wandb": {"key": KEY}}
    with pytest.raises(ValueError, match="contains the W&B key"), \
         tracked_run(tmp_path, "one", config, api_key=KEY):  # fmt: skip
        pass
    assert not list(tmp_path.rglob("*"))


def test_a_training_that_fails_is_recorded_as_failed_and_its_error_goes_on(tmp_path, no_mirror):
    with pytest.raises(ZeroDivisionError), tracked_run(tmp_path, "one", CONFIG) as run:
        run.log({"epoch": 1})
        run.log({"epoch": 1 / 0})
    assert summary(tmp_path / "one")["state"] == "failed: ZeroDivisionError: division by zero"
    assert len(metrics(tmp_path / "one")) == 1


def test_a_second_run_of_the_same_name_begins_its_record_anew(tmp_path, no_mirror):
    for accuracy in (0.1, 0.2):
        with tracked_run(tmp_path, "one", CONFIG) as run:
            run.log({"epoch": 1})
            run.summarise(accuracy=accuracy)
    assert len(metrics(tmp_path / "one")) == 1
    assert summary(tmp_path / "one")["accuracy"] == 0.2


def test_what_is_no_finite_number_is_null(tmp_path, no_mirror):
    with tracked_run(tmp_path, "one", {"path": Path("x"), "none": None}) as run:
        run.log({"loss": np.float32("nan"), "rows": np.int64(3), "parts": (1.5, np.inf)})
    assert metrics(tmp_path / "one") == [{"loss": None, "rows": 3, "parts": [1.5, None]}]
