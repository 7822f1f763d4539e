"""The examples of monitoring: its own tool accepts each, and each alert is tried both ways."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "examples" / "monitoring"
DASHBOARD = MONITORING / "grafana-dashboard.json"
GRID = 24  # columns of a dashboard


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    """A tool of Prometheus, in the folder of the examples."""
    if shutil.which(words[0]) is None:
        pytest.skip("`apt-get install prometheus prometheus-alertmanager` installs it")
    return subprocess.run(words, cwd=MONITORING, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("promtool", "check", "config", "prometheus.yml"),
        ("promtool", "test", "rules", "rules_test.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ],
    ids=" ".join,
)
def test_its_tool_accepts_it(words: tuple[str, ...]) -> None:
    done = tool(*words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("severity", "receivers"),
    [("page", "pager,people"), ("warning", "people"), ("info", "nobody")],
)
def test_an_alert_goes_to_whom_its_severity_says(severity: str, receivers: str) -> None:
    words = ("amtool", "config", "routes", "test", "--config.file=alertmanager.yml")
    done = tool(*words, f"--verify.receivers={receivers}", f"severity={severity}")
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> dict[str, dict[str, Any]]:
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


def test_each_alert_is_made_to_fire_and_to_stay_quiet_before() -> None:
    tests = yaml.safe_load((MONITORING / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    fired, quiet = set[str](), set[str]()
    for one in tests:
        for check in one["promql_expr_test"]:
            names = {sample["labels"].split('"')[1] for sample in check["exp_samples"]}
            fired |= names
            quiet |= set() if names else {one["name"]}
    assert fired == set(alerts())
    assert len(quiet) == len(tests)


def test_each_alert_has_a_severity_a_summary_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"info", "warning", "page"}, name
        assert {"summary", "action"} <= rule["annotations"].keys(), name


def test_the_dashboard_can_be_imported_beside_others() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert dashboard["uid"] == "hone-overview"
    assert "__inputs" not in dashboard
    [variable] = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["type"] == "row" or panel["targets"], panel["title"]


def test_no_panel_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= GRID
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
