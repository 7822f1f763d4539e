"""What is served, changed from the command line: what each command prints, and what it refuses."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from core.workspace import Workspace
from flows.cli import app
from models.registry import bento
from models.registry.challengers import set_front
from models.registry.halts import HaltPolicy
from models.registry.model_store import entry
from models.registry.releases import champion, current_release
from tasks.operate import release as changing
from tasks.retrain import runtime
from tests.models.halting import halt_service
from tests.models.registry.named_models import number
from tests.models.saved_models import make_workspace, put_in_service, save

Place = tuple[Workspace, Engine, str, str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A workspace with a champion and another version; nothing is packaged."""
    workspace, engine = make_workspace(tmp_path / "workspace")
    old, new = save(workspace, engine), save(workspace, engine, seed=1)
    put_in_service(engine, old)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HONE_RUNTIME", "torch")  # nothing is measured
    monkeypatch.setattr(bento, "package", lambda _, version, packages: version)
    return workspace, engine, old, new


def run(*words: str, who: str = "ann", fails: bool = False) -> list[str]:
    """The lines that a command prints; of one that fails, its error."""
    done = CliRunner().invoke(app, [*words, "--who", who, "--why", "because"])
    if fails:
        assert isinstance(done.exception, ValueError), done.output
        return [str(done.exception)]
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output.splitlines()


def test_a_night_of_changes_is_said_as_it_happens(place: Place) -> None:
    _, engine, old, new = place
    followed = "running services follow within two seconds"
    assert run("shadow", new) == [
        f"release 2: {old} answers, {new} is compared in shadow; by ann, {followed}"
    ]
    assert run("canary", new, "--share", "10") == [
        f"release 3: {new} answers 10 % of the clients, {old} the others; by ann, {followed}"
    ]
    assert run("canary", new, "--share", "10", who="bob") == [
        "nothing changed: release 3 says so already, by ann"
    ]
    assert run("canary", "--off") == [
        f"release 4: {old} is in service; by ann, {followed}",
        f"the canary of {new} ended",
    ]
    run("shadow", new)
    assert run("release", new) == [
        f"release 6: {new} is in service; by ann, {followed}",
        f"the shadow of {new} ended",
        f"{old} is out of service; `hone rollback --to {old}` returns to it",
        f"packaged as {new}",
    ]
    assert run("rollback", "--to", old)[0].startswith(f"release 7: {old} is in service; by ann")
    assert (champion(engine), number(engine)) == (old, 7)


@pytest.mark.parametrize("words", [["shadow"], ["canary", "--share", "10"], ["release"]])
def test_the_runtime_of_a_version_is_chosen_before_a_service_has_it(
    place: Place, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine, _, new = place
    chosen: list[tuple[str, int]] = []

    def choose(_: object, version: str) -> dict[str, str]:
        chosen.append((version, number(engine)))
        return {}

    monkeypatch.setattr(runtime, "chosen_for_release", choose)
    run(*words, new)
    assert chosen[0] == (new, 1)


def test_a_rollback_without_a_version_undoes_the_last_release(place: Place) -> None:
    _, engine, old, new = place
    put_in_service(engine, new)
    assert run("rollback")[:2] == [
        f"release 3: {old} is in service; by ann, running services follow within two seconds",
        f"{new} is out of service; `hone rollback --to {new}` returns to it",
    ]
    [refused] = run("rollback", fails=True)
    assert f"{old} is in service by a person's decision (release 3 by ann: because)" in refused


def test_ending_what_is_not_there_names_what_is(place: Place) -> None:
    new = place[3]
    assert run("canary", "--off", fails=True) == [
        "no model is in shadow or canary: there is nothing to end"
    ]
    run("shadow", new)
    assert run("canary", "--off", fails=True) == [
        f"{new} is in shadow, not in canary: `hone shadow --off` ends that"
    ]
    for words in (["canary"], ["canary", new, "--off"]):
        assert run(*words, fails=True) == [
            "`hone canary` needs a version, or --off to end the canary; give one"
        ]


def test_a_change_during_a_halt_says_that_the_service_is_halted(place: Place) -> None:
    _, engine, _, new = place
    halt_service(engine, policy=HaltPolicy.REFUSE, who="bob", why="labels are wrong")
    assert run("release", new)[-2] == (
        "the service is still halted (refuse, by bob): `hone resume` lets it answer again"
    )


@pytest.mark.parametrize("command", ["release", "shadow", "canary", "rollback"])
def test_a_damaged_model_is_refused_before_anything_changes(place: Place, command: str) -> None:
    workspace, engine, _, new = place
    if command == "rollback":
        put_in_service(engine, new)
        new = place[2]
    weights = entry(workspace.bento_home, new) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    before = number(engine)
    words = [command] if command == "rollback" else [command, new]
    [refused] = run(*words, fails=True)
    assert f"{new} is not whole, and no service could load it: weights" in refused
    assert number(engine) == before


def test_of_two_people_at_once_the_second_is_not_followed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine, _, new = place
    read = current_release(engine)
    run("canary", new)
    monkeypatch.setattr(changing.releases, "current_release", lambda _: read)
    done = CliRunner().invoke(app, ["shadow", new, "--who", "bob", "--why", "because"])
    assert "release 1 was expected, 2 is current" in str(done.exception)


def test_standing_for_the_champion_ends_its_cascade_without_a_word_about_another_one(
    place: Place,
) -> None:
    _, engine, old, new = place
    set_front(engine, front=new, threshold=0.9, who="ann", why="cheaper", expected=1)
    lines = run("release", old)
    assert f"{new} is no longer in front" in lines
    assert not [one for one in lines if "out of service" in one]
