"""The service with a challenger in shadow and in canary: what clients get, what is recorded."""

import time
from collections.abc import Callable

import pytest

from models.registry.challengers import set_challenger
from models.registry.releases import Mode, current_release
from models.rollout.spool import drain_shadow
from models.rollout.store import trial_counts
from models.serving import shadow as shadow_module
from models.serving.prediction_store import drain, window
from tests.models.saved_models import png, save
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    place,
    send,
    template,
)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shadow(client: TestClient) -> tuple[int, int]:  # noqa: F811
    """How many images the challenger has answered, and failed on."""
    counts = client.get("/status").json()["shadow"]
    return counts["answered"], counts["failed"]


def challenge(client: TestClient, place: Place, version: str, mode: Mode, share: float) -> None:  # noqa: F811
    current = current_release(place[1])
    assert current is not None
    number = set_challenger(
        place[1], version=version, mode=mode, share=share, who="Ada", why="to compare",
        expected=current.number,
    )  # fmt: skip
    until(lambda: client.get("/status").json()["release"] == number)


def test_the_champion_answers_and_the_challenger_is_recorded_beside_it(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow_module, "REST", 0)
    workspace, engine = place
    before = send(client, png(0)).json()["predictions"][0]
    assert shadow(client) == (0, 0)
    challenger = save(workspace, engine, seed=1)
    challenge(client, place, challenger, Mode.SHADOW, 0.0)
    answers = [send(client, png(number)).json()["predictions"][0] for number in (0, 1, 2)]
    assert {one["model"] for one in answers} == {before["model"]}
    assert answers[0]["label"] == before["label"]
    until(lambda: shadow(client) == (3, 0))  # one of them out of the cache
    challenge(client, place, challenger, Mode.CANARY, 50.0)
    made = [send(client, png(number)).json()["predictions"][0] for number in range(12)]
    by_canary = sum(one["model"] == challenger for one in made)
    assert 0 < by_canary < 12
    until(lambda: shadow(client) == (15 - by_canary, 0))
    text = client.get("/metrics").text
    assert 'hone_shadow_images_total{outcome="answered"}' in text
    client.app.state.hone.end()  # type: ignore[attr-defined]
    assert drain(engine, workspace.traffic) == 16
    assert drain_shadow(engine, workspace.traffic) == 15 - by_canary
    with engine.connect() as connection:
        counts = trial_counts(connection, challenger, since=1)
    assert (counts.compared, counts.answered) == (15 - by_canary, by_canary)
    served = window(engine)
    assert set(served["model"]) == {before["model"], challenger}
