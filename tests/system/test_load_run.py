"""The load run in short: a sound service passes it, one that answers before it writes does not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.load_run import Load, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]
REPOSITORY = Path(__file__).parents[2]
SHORT = Load(seconds=12.0, kills=2, rate=12.0)

# Read by every Python process that starts with its folder on the path: the service's workers.
ANSWERS_FIRST = """
import sys, threading, time

def answer_before_writing():
    from models.serving.segments import SegmentWriter
    append = SegmentWriter.append

    def later(self, records):
        threading.Timer(3.0, append, (self, records)).start()

    SegmentWriter.append = later

if any("_bentoml_impl.worker.service" in word for word in sys.orig_argv):
    answer_before_writing()
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sets in its process is taken back after the test."""
    for name in ("HONE_WORKSPACE", "HONE_THREADS", "BENTOML_HOME"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def test_a_sound_service_keeps_every_promise_under_load_and_kills(tmp_path: Path) -> None:
    text, problems = run(SHORT, tmp_path)
    assert problems == [], text
    assert "worker killed" in text


def test_a_service_that_answers_before_it_writes_is_caught(tmp_path: Path) -> None:
    mutant = tmp_path / "mutant"
    mutant.mkdir()
    (mutant / "sitecustomize.py").write_text(ANSWERS_FIRST)
    path = os.pathsep.join([str(mutant), str(REPOSITORY)])
    folder = tmp_path / "run"
    folder.mkdir()
    _, problems = run(replace(SHORT, environment={"PYTHONPATH": path}), folder)
    assert any("was acknowledged and is lost" in problem for problem in problems)
