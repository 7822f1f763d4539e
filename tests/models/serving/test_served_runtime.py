"""The runtime of the service: by the record of this machine, shown in /status, never awaited."""

import threading
import time
from collections.abc import Callable

import pytest

from models.registry.model_store import load_model
from models.registry.releases import champion
from models.runtimes import background
from models.runtimes.agreement import Agreement
from models.runtimes.choice import Choice, Timed, model_folder, store_choice
from models.runtimes.machine import machine
from models.runtimes.policy import Policy
from models.runtimes.probe import SIZES
from models.runtimes.probe_process import ProbeFailed
from models.serving import service
from tests.models.saved_models import png, put_in_service, save
from tests.models.serving.test_service import Place, place, send, serving, template

__all__ = ["place", "template"]  # fixtures
ENGINE = "onnxruntime"


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def engine_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_RUNTIME", ENGINE)


def test_a_record_of_this_machine_is_what_answers_and_status_shows_it(place: Place) -> None:
    workspace, engine = place
    loaded = load_model(engine, workspace.bento_home, str(champion(engine)))
    sizes = {size: Timed(ENGINE, 1.0, 4.0) for size in SIZES}
    choice = Choice(
        loaded.version,
        loaded.sha256,
        Policy.ONNXRUNTIME,
        machine(1),
        "2030",
        9.0,
        "images",
        sizes,
        {ENGINE: Agreement(1000, 1.0, 0.0, 0.0, 0.0, 0.0)},
    )
    store_choice(model_folder(workspace.runtimes, loaded.version), choice)
    with serving() as client:
        by_torch = send(client, png()).json()["predictions"][0]["probabilities"]
        until(lambda: client.get("/status").json()["runtime"]["settled"])
        shown = client.get("/status").json()["runtime"]
        assert (shown["name"], shown["problem"]) == (ENGINE, None)
        assert (shown["policy"], shown["speed_up"]) == (ENGINE, 4.0)
        assert shown["by_batch"] == {str(size): ENGINE for size in SIZES}
        [answer] = send(client, png()).json()["predictions"]
        assert answer["probabilities"] == pytest.approx(by_torch, abs=1e-5)
        active = service.app.state.hone.active
        assert active.model.runtime.name == ENGINE


def test_a_release_is_followed_while_a_probe_is_under_way(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = place
    ends, begun = threading.Event(), list[str]()

    def slow(model: object, *_: object, **__: object) -> Choice:
        begun.append(model.version)  # type: ignore[attr-defined]
        ends.wait(60)
        raise ProbeFailed("the probe was ended")

    monkeypatch.setattr(background, "choose", slow)
    with serving() as client:
        until(lambda: begun)
        second = save(workspace, engine, seed=1)
        number = put_in_service(engine, second)
        service.app.state.hone._follower.refresh()
        shown = client.get("/status").json()
        assert (shown["model"], shown["release"], shown["problem"]) == (second, number, None)
        assert send(client, png()).json()["predictions"][0]["model"] == second
        assert shown["runtime"]["name"] == "torch"
        ends.set()
        until(lambda: client.get("/status").json()["runtime"]["settled"])
        assert client.get("/status").json()["runtime"]["problem"] == "the probe was ended"
        assert send(client, png(2)).status_code == 200
