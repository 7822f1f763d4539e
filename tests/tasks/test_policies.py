"""One place says what decides: every caller reads it, and a change or an override is recorded."""

import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.database import writing
from core.errors import HoneError
from core.hone_toml import POLICIES
from core.policy_log import PolicyChange, list_policy_changes, record_policy
from core.workspace import init_workspace
from labeling.consensus.settle import SettlePolicy
from models.watching.signals import WatchPolicy
from tasks.collect.settle import settle_answers
from tasks.context import open_context
from tasks.exchange import import_labels
from tasks.policies import Policies, load_policies, policies_toml
from tasks.policy_changes import record_policy_changes
from tasks.run_policies import choose_policies
from tests.labeling.formats.workspaces import House, make_house, put_pictures

ROOT = Path(__file__).parents[2]
IMAGES = [f"{letter}.png" for letter in "abcdefg"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    put_pictures(tmp_path / "files", *IMAGES)
    rows = [f"{name},{'cat' if name < 'd' else 'dog'},ann" for name in IMAGES]
    (tmp_path / "files" / "labels.csv").write_text("\n".join(["image,label,annotator", *rows]))
    return make_house(tmp_path / "workspace")


def configure(workspace: House, text: str) -> None:
    path = workspace.workspace.root / "hone.toml"
    base = path.read_text().partition("\n# test\n")[0]
    path.write_text(f"{base}\n# test\n{text}\n")


def collect_as_deployed() -> dict[str, int]:
    """What the deployment of collect-labels settles, with its parameters in prefect.yaml."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    given = next(one for one in deployments if one["name"] == "collect").get("parameters", {})
    policies = choose_policies.fn(
        **{name: given[name] for name in ("settling", "snapshot") if name in given}
    )
    return settle_answers.fn(policies.settling)


def changes() -> list[PolicyChange]:
    with open_context().engine.connect() as connection:
        return list_policy_changes(connection)


@pytest.mark.parametrize("needed", [1, 2])
def test_deployment_and_command_in_turn_settle_the_same_labels(
    workspace: House, tmp_path: Path, needed: int
) -> None:
    configure(workspace, f"[settling]\nanswers_needed = {needed}")
    seen = []
    for _ in range(3):
        by_hand = import_labels(tmp_path / "files" / "labels.csv").labels
        deployed = collect_as_deployed()
        seen.append((by_hand["settled"], by_hand["withdrawn"], deployed["settled"]))
        assert deployed["withdrawn"] == deployed["settled"] == 0
    assert seen == [(7 if needed == 1 else 0, 0, 0), (0, 0, 0), (0, 0, 0)]
    assert len(workspace.labels()) == (7 if needed == 1 else 0)


def test_the_deployments_leave_the_policies_to_hone_toml() -> None:
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        given: dict[str, Any] = deployment.get("parameters") or {}
        assert not {"settling", "gate", "watch"} & set(given), deployment["name"]
        assert not isinstance(given.get("snapshot"), dict), deployment["name"]


def test_a_change_is_recorded_with_what_it_changes(
    workspace: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_labels(tmp_path / "files" / "labels.csv")
    assert {change.effect for change in changes()} == {""}  # what it was to begin with
    configure(workspace, "[settling]\nanswers_needed = 2\n[watch]\nwindow = 300")
    capsys.readouterr()
    import_labels(tmp_path / "files" / "labels.csv")
    settling, watch = changes()[-2:]
    assert (settling.section, settling.old["answers_needed"]) == ("settling", 1)  # type: ignore[index]
    assert settling.new == asdict(SettlePolicy(answers_needed=2))
    assert settling.effect == (
        "the answers that are there settle 0 more labels, change 0 and withdraw 7"
    )
    assert watch.new["window"] == 300
    printed = capsys.readouterr().out
    assert "hone.toml changed: settling: answers_needed 1 -> 2; the answers that are" in printed
    assert len(workspace.labels()) == 0
    count = len(changes())
    record_policy_changes(open_context())
    assert len(changes()) == count and capsys.readouterr().out == ""


def test_a_changed_split_says_how_many_samples_move(workspace: House, tmp_path: Path) -> None:
    import_labels(tmp_path / "files" / "labels.csv")
    configure(workspace, "[snapshot]\nval_share = 0.5")
    record_policy_changes(open_context())
    assert changes()[-1].effect == "the next snapshot has 3 samples in another split"


def test_a_changed_gate_or_watch_changes_nothing_that_was_decided(workspace: House) -> None:
    choose_policies.fn()
    configure(workspace, "[gate]\nmin_rows = 60\n[watch]\nwindow = 300")
    record_policy_changes(open_context())
    assert {change.section: change.effect for change in changes()[-2:]} == {
        "gate": "the next verdict is judged by it, those before stand",
        "watch": "the next check of traffic goes by it, decisions before stand",
    }


def test_a_recorded_policy_of_another_version_is_compared_by_the_fields_that_are_left(
    workspace: House,
) -> None:
    old = {**asdict(SettlePolicy(answers_needed=2)), "gone_since": 1}
    with writing(workspace.engine) as connection:
        record_policy(connection, PolicyChange("settling", None, old, ""))
    record_policy_changes(open_context())
    change = next(change for change in reversed(changes()) if change.section == "settling")
    assert change.old == old and change.new == asdict(SettlePolicy())
    assert change.effect.startswith("the answers that are there settle 0 more labels")


def test_an_override_that_differs_from_the_last_one_is_recorded_again(workspace: House) -> None:
    choose_policies.fn()
    before = len(changes())
    for threshold in (0.5, 0.6, 0.6, 0.5):
        choose_policies.fn(settling=SettlePolicy(threshold=threshold))
    assert [change.new["threshold"] for change in changes()[before:]] == [0.5, 0.6, 0.5]


def test_an_override_is_for_one_run_and_recorded_with_it(
    workspace: House, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_policies.fn()
    policies = choose_policies.fn(settling=SettlePolicy(threshold=0.5), watch=WatchPolicy())
    assert policies.settling.threshold == 0.5
    assert changes()[-1].run == "without a flow run"
    assert changes()[-1].effect == "for this run only: threshold 0.9 -> 0.5"
    assert "settling, for this run only: threshold 0.9 -> 0.5" in capsys.readouterr().out
    assert choose_policies.fn() == Policies()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[settling]\nanswers_needed = 0", r"hone.toml: settling.answers_needed is 0; choose 1 or"),
        ("[gate]\nmin_row = 9", r"hone.toml: gate.min_row is unknown; known: min_rows, alpha"),
        ("[watch]\nwindow = 20", r"hone.toml: watch: min_rows is 50 with a window of 20"),
        ("gate = 3", r"hone.toml: gate is 3; write a table"),
    ],
)
def test_an_unsound_policy_stops_every_command(workspace: House, text: str, message: str) -> None:
    path = workspace.workspace.root / "hone.toml"
    path.write_text(f"{text}\n{path.read_text()}" if "[" not in text else path.read_text() + text)
    with pytest.raises(HoneError, match=message):
        open_context()


def test_a_new_file_explains_each_field_and_sets_what_is_not_the_default(tmp_path: Path) -> None:
    text = policies_toml(Policies(settling=SettlePolicy(answers_needed=2)))
    made = init_workspace(tmp_path / "made", ["a", "b"], policies=text)
    assert load_policies(made) == Policies(settling=SettlePolicy(answers_needed=2))
    lines = (made.root / "hone.toml").read_text().splitlines()
    assert "answers_needed = 2  # annotators who must have answered before a label is settled" in (
        lines
    )
    defaults = [line for line in policies_toml().splitlines() if line and line[0] != "["]
    assert defaults and all(line.startswith("# ") for line in defaults)
    for line in filter(None, policies_toml().splitlines()):
        assert tomllib.loads(line.removeprefix("# "))  # a line without its # is a line that works
    assert {field.name for field in fields(Policies)} == set(POLICIES)
    assert load_policies(init_workspace(tmp_path / "old", ["a", "b"])) == Policies()
