"""A halted service refuses or abstains by the halt's policy, and answers once it is resumed."""

import time

import pytest

from models.registry.halts import HaltPolicy
from models.serving import release_follower
from models.serving.prediction_store import drain, find_prediction
from tests.models.halting import halt_service, resume_service
from tests.models.saved_models import png
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    look,
    place,
    reason,
    send,
    template,
)


def test_a_halted_service_refuses_with_the_reason_until_it_is_resumed(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    _, engine = place
    halt_service(engine, policy=HaltPolicy.REFUSE, who="ann", why="accuracy fell to .31")
    halt = look(client)["halt"]
    assert (halt["policy"], halt["who"]) == ("refuse", "ann")
    response = send(client, png())
    assert (response.status_code, reason(response)) == (503, "HALTED")
    assert "by ann: accuracy fell to .31" in response.json()["error"]["detail"]
    assert response.headers["Retry-After"] == "60"
    assert drain(engine, place[0].traffic) == 0
    resume_service(engine, who="bob", why="repaired")
    assert look(client)["halt"] is None
    assert send(client, png()).status_code == 200


def test_a_service_that_abstains_shows_what_it_sees_and_asks_for_review(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    _, engine = place
    halt_service(engine, policy=HaltPolicy.ABSTAIN, who="ann", why="drift")
    look(client)
    good, bad = send(client, png(), b"no image").json()["predictions"]
    assert good["abstain"] is True and good["needs_review"] is True
    assert "abstain" not in bad and bad["error"]["reason"] == "NOT_AN_IMAGE"
    assert drain(engine, place[0].traffic) == 1
    row = find_prediction(engine, good["prediction_id"])
    assert row is not None and row.needs_review
    resume_service(engine, who="bob", why="repaired")
    look(client)
    [again] = send(client, png(1)).json()["predictions"]
    assert "abstain" not in again


def test_a_model_that_is_activated_during_a_halt_stays_halted(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    from tests.models.saved_models import put_in_service, save

    workspace, engine = place
    halt_service(engine, policy=HaltPolicy.REFUSE, who="ann", why="stop")
    look(client)
    put_in_service(engine, save(workspace, engine, seed=1))
    status = look(client)
    assert (status["release"], status["halt"]["who"]) == (2, "ann")


def test_a_look_that_fails_does_not_end_the_following(
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace, engine = place
    monkeypatch.setattr(release_follower, "REFRESH_SECONDS", 0.01)
    follower = release_follower.ReleaseFollower(engine, workspace.bento_home, threads=1)
    follower.start()
    with monkeypatch.context() as broken:
        broken.setattr(release_follower, "current_halt", None)  # calling it is a TypeError
        time.sleep(0.2)
    halt_service(engine, policy=HaltPolicy.REFUSE, who="ann", why="stop")
    until = time.monotonic() + 20
    while follower.active.halt is None and time.monotonic() < until:
        time.sleep(0.02)
    follower.stop()
    assert follower.active.halt is not None
