"""The demo, as its user runs it: the facts it ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(800)]


def test_the_demo_goes_round_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows", "demo", "--json", "--folder", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(facts) == {"rounds", "drift", "recovery", "trace", "workspace", "seconds"}
    assert [row["round"] for row in facts["rounds"]] == [1, 2, 3]
    assert [row["labels"] for row in facts["rounds"]] == [100, 150, 200]
    assert all(
        0.5 < row[key] <= 1 for row in facts["rounds"] for key in ("accuracy", "random_accuracy")
    )
    assert facts["drift"] == {"clean_window": False, "shifted_window": True}
    recovery = facts["recovery"]
    assert recovery["shifted_after"] > recovery["shifted_before"] + 0.1
    assert recovery["clean_after"] > recovery["clean_before"] - 0.05
    assert facts["trace"]["annotators"] == ["ada", "ben"]
    assert (Path(facts["workspace"]).parent / "learning-curves.png").stat().st_size > 10_000
    assert "random's" in done.stdout
    budget = subprocess.run(
        [sys.executable, "-m", "flows", "--workspace", facts["workspace"], "budget", "--json"],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    told = json.loads(budget.stdout.strip().splitlines()[-1])
    assert (told["labels"], told["models"], len(told["past"])) == (300, 5, 4)
    assert [row["more"] for row in told["forecasts"]] == [100, 500, 1000]
    assert told["advice"] in ("GO ON", "STOP", "UNSURE") and Path(told["picture"]).is_file()
