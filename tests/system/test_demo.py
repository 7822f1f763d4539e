"""The demo, as its user runs it: the facts it ends with."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.child_environment import SECRETS
from tasks.demo import shadow_phase

# Not the database's, which it would use, and not W&B's, with which it would look for a network.
PLANTED = {
    name: f"canary-{name}" for name in SECRETS - {"HONE_DATABASE_URL", "WANDB_API_KEY"}
    if not name.startswith("PREFECT_")
}  # fmt: skip
IN_SHADOW = (
    r"  shadow: (\S+) in shadow for [\d.]+ hours: ([\d,]+) images compared, .* differ.*; "
    r"the next check goes on to full\n"
)
SERVED = r"  drift round: .*, the service runs (\S+)\n"
RUNTIME = r"  its runtime is (torch\b.*|.+: [\d.]+ times as fast as torch .*)\n"
SHARED_BY_DVC = Path("/var/tmp/dvc/repo")

pytestmark = [pytest.mark.system, pytest.mark.timeout(1_800)]


def test_the_demo_goes_round_and_says_so(tmp_path: Path) -> None:
    shared = set(SHARED_BY_DVC.glob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "flows", "demo", "--json", "--folder", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **PLANTED} | {"DVC_SITE_CACHE_DIR": ""},
        umask=0,  # a user's who keeps nobody out
        timeout=1_500,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(facts) == {"rounds", "drift", "recovery", "trace", "workspace", "seconds"}
    assert [row["round"] for row in facts["rounds"]] == [1, 2, 3]
    labels = [row["labels"] for row in facts["rounds"]]
    # Answers of duels are labels, too.
    assert all(count >= chosen for count, chosen in zip(labels, (100, 150, 200), strict=True))
    assert all(
        0.5 < row[key] <= 1 for row in facts["rounds"] for key in ("accuracy", "random_accuracy")
    )
    drift = facts["drift"]
    windows = {name: drift[f"{name}_window"] for name in ("clean", "shifted", "again")}
    assert windows == {"clean": False, "shifted": True, "again": False}
    assert drift["incident"] == "incident-0001"
    assert (drift["incident_closed"], drift["open_alerts"]) == (True, 0)
    assert len(set(drift["exemplars"])) == 3
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in drift["exemplars"])
    (title,) = drift["alerts"]
    assert title.startswith("Handwritten digits: incident-0001: the traffic has drifted")
    assert len(list((tmp_path / "demo" / "alerts").glob("message-*.png"))) == 1
    recovery = facts["recovery"]
    assert recovery["shifted_after"] > recovery["shifted_before"] + 0.1
    assert recovery["clean_after"] > recovery["clean_before"] - 0.05
    (version, compared), (served,) = (line(done.stdout, one) for one in (IN_SHADOW, SERVED))
    assert version == served  # the trial put it in service, and no person
    assert int(compared.replace(",", "")) >= shadow_phase.IMAGES
    assert line(done.stdout, RUNTIME)
    assert facts["trace"]["annotators"] == ["ada", "ben"]
    assert (Path(facts["workspace"]).parent / "learning-curves.png").stat().st_size > 10_000
    assert "random's" in done.stdout
    assert list(open_to_others(tmp_path / "demo")) == []
    assert set(SHARED_BY_DVC.glob("*")) == shared
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert "canary-" not in done.stdout + done.stderr
    assert [path for path in files if b"canary-" in path.read_bytes()] == []
    budget = subprocess.run(
        [sys.executable, "-m", "flows", "--workspace", facts["workspace"], "budget", "--json"],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    told = json.loads(budget.stdout.strip().splitlines()[-1])
    assert (told["models"], len(told["past"])) == (5, 4)
    assert told["labels"] >= 300
    assert [row["more"] for row in told["forecasts"]] == [100, 500, 1000]
    assert told["advice"] in ("GO ON", "STOP", "UNSURE") and Path(told["picture"]).is_file()


def line(text: str, pattern: str) -> tuple[str, ...]:
    """What the groups of a pattern match in the only line that has it."""
    (groups,) = [one.groups() for one in re.finditer(pattern, text)]
    return groups


def open_to_others(home: Path) -> Iterator[Path]:
    """What users outside the group may open. DVC makes its objects readable, in closed folders."""
    for path in (home, *home.rglob("*")):
        cached = ".dvc/cache/" in str(path) and path.is_file()
        if not path.is_symlink() and not cached and path.stat().st_mode & 0o007:
            yield path
