"""Workers follow every change of what is served, and serve what works when a model does not."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine

from core.database import now
from models.registry import releases
from models.registry.halts import HaltPolicy
from models.registry.model_store import LoadedModel
from models.registry.releases import Mode
from models.serving import batcher
from models.serving.batcher import Inference
from models.serving.prediction_store import drain, window
from models.serving.release_follower import ReleaseFollower
from models.serving.requests import Sender
from models.serving.segments import SegmentWriter
from models.serving.traffic_split import is_canarys
from tests.models.halting import halt_service
from tests.models.registry.named_models import by_hand, challenge, go_back, number
from tests.models.saved_models import png, save
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    look,
    place,
    reason,
    template,
)

KEYS = [f"client-{number}" for number in range(30)]


@pytest.fixture
def newer(place: Place) -> str:  # noqa: F811
    """A second version, not released."""
    return save(*place, seed=1)


@pytest.fixture
def follower(place: Place) -> Iterator[ReleaseFollower]:  # noqa: F811
    made = make_follower(place)
    yield made
    made.stop()


def make_follower(place: Place) -> ReleaseFollower:  # noqa: F811
    workspace, engine = place
    made = ReleaseFollower(engine, workspace.bento_home, threads=1)
    made.refresh()
    return made


def models_of(client: TestClient) -> dict[str, str]:  # noqa: F811
    """The version that answers each key."""
    answered = {}
    for key in KEYS:
        files = [("images", ("a.png", png()))]
        response = client.post("/predict", files=files, headers={"X-Client-Key": key})
        [answer] = response.json()["predictions"]
        answered[key] = answer["model"]
    return answered


def champion(engine: Engine) -> str:
    return str(releases.champion(engine))


def test_a_canary_answers_its_clients_and_each_answer_names_its_model(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    newer: str,
) -> None:
    workspace, engine = place
    old = champion(engine)
    challenge(engine, newer, 20)
    state = look(client)
    assert (state["model"], state["challenger"]) == (old, newer)
    assert (state["mode"], state["share"], state["problem"]) == ("canary", 20, None)
    few = models_of(client)
    assert few == {key: newer if is_canarys(key, newer, 20) else old for key in KEYS}
    assert set(few.values()) == {newer, old}
    challenge(engine, newer, 50)
    look(client)
    many = models_of(client)
    assert all(many[key] == newer for key in KEYS if few[key] == newer)
    drain(engine, workspace.traffic)
    assert set(window(engine, model=newer)["model"]) == {newer}


def test_without_a_key_the_same_image_gets_the_same_model(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    newer: str,
) -> None:
    challenge(place[1], newer, 50)
    look(client)

    def model(image: bytes) -> str:
        response = client.post("/predict", files=[("images", ("a.png", image))])
        return str(response.json()["predictions"][0]["model"])

    images = [png(seed) for seed in range(12)]
    first = [model(image) for image in images]
    assert [model(image) for image in images] == first
    assert len(set(first)) == 2


def test_a_shadow_answers_nobody(client: TestClient, place: Place, newer: str) -> None:  # noqa: F811
    challenge(place[1], newer)
    assert look(client)["mode"] == "shadow"
    assert set(models_of(client).values()) == {champion(place[1])}


def test_a_key_that_is_none_is_refused(client: TestClient) -> None:  # noqa: F811
    files = [("images", ("a.png", png()))]
    response = client.post("/predict", files=files, headers={"X-Client-Key": "x" * 101})
    assert (response.status_code, reason(response)) == (400, "BAD_CLIENT_KEY")


def test_requests_of_one_batch_are_answered_each_by_its_model(place: Place, newer: str) -> None:  # noqa: F811
    workspace, engine = place
    challenge(engine, newer, 50)
    follower = make_follower(place)
    writer = SegmentWriter(workspace.traffic)
    inference = Inference(lambda: follower.active, writer, needs_review_below=0.5, threads=1)
    asked = {key: inference.ask(key, [png()], sender=Sender(key=key)) for key in KEYS}
    for key, answers in asked.items():
        [answer] = answers.result()
        expected = follower.active.model_for(key)
        assert expected is not None and answer["model"] == expected.version
    inference.close()


def test_the_champion_answers_what_a_canary_fails_at(
    place: Place,  # noqa: F811
    newer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace, engine = place
    challenge(engine, newer, 50)
    follower = make_follower(place)
    inference = Inference(
        lambda: follower.active, SegmentWriter(workspace.traffic), needs_review_below=0.5, threads=1
    )
    works = batcher.Inference._predict

    def fail(self: Inference, model: LoadedModel, *rest: object) -> object:
        if model.version == newer:
            raise RuntimeError("no memory for this network")
        return works(self, model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(batcher.Inference, "_predict", fail)
    asked = [inference.ask(key, [png()], sender=Sender(key=key)) for key in KEYS]
    assert {answers.result()[0]["model"] for answers in asked} == {champion(engine)}
    inference.close()


def test_a_canary_that_one_worker_cannot_load_is_served_by_the_others(
    place: Place,  # noqa: F811
    newer: str,
    follower: ReleaseFollower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_follower(place)

    def fail(version: str) -> LoadedModel:
        raise MemoryError(f"no memory for {version}")

    monkeypatch.setattr(other, "load", fail)
    challenge(place[1], newer, 20)
    for one in (follower, other):
        one.refresh()
        one.refresh()  # the problem stays
    assert follower.active.problem is None
    assert follower.active.challenger is not None
    assert other.active.problem == f"release 2 is served in part: no memory for {newer}"
    assert (other.active.challenger, other.active.mode, other.active.release) == (None, Mode.OFF, 2)
    assert all(other.active.model_for(key) is other.active.model for key in KEYS)
    monkeypatch.setattr(other, "load", follower.load)
    other.refresh()
    assert other.active.challenger is None  # it is not tried again at once
    other._failed[newer] = (time.monotonic(), "no memory")
    other.refresh()
    assert (other.active.problem, other.active.mode) == (None, Mode.CANARY)


def test_a_release_that_names_a_missing_model_leaves_the_old_one_serving(
    place: Place,  # noqa: F811
    follower: ReleaseFollower,
) -> None:
    workspace, engine = place
    old = champion(engine)
    with closing(sqlite3.connect(workspace.root / "hone.sqlite")) as raw:  # no keys are enforced
        raw.execute(
            "INSERT INTO releases (number, champion, who, why, released_at) "
            "VALUES (2, 'hone:0099-gone', 'Ada', 'by hand', ?)", [now()],
        )  # fmt: skip
        raw.commit()
    follower.refresh()
    assert follower.active.model is not None
    assert (follower.active.model.version, follower.active.release) == (old, 1)
    assert "release 2 is not served: there is no model 'hone:0099-gone'" in str(
        follower.active.problem
    )
    by_hand(engine, save(workspace, engine, seed=3))
    follower.refresh()
    assert (follower.active.problem, follower.active.release) == (None, 3)


def test_a_release_of_a_newer_hone_is_a_problem_to_show(
    place: Place,  # noqa: F811
    follower: ReleaseFollower,
) -> None:
    with closing(sqlite3.connect(place[0].root / "hone.sqlite")) as raw:
        raw.execute("UPDATE releases SET number = 2, mode = 'mirror'")
        raw.commit()
    follower.refresh()
    assert follower.active.release == 1
    assert "release 2 cannot be read: 'mirror'" in str(follower.active.problem)


def test_workers_whose_clocks_differ_follow_the_same_release(
    place: Place,  # noqa: F811
    newer: str,
    follower: ReleaseFollower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_follower(place)
    monkeypatch.setattr(releases, "now", lambda: "2001-01-01T00:00:00+00:00")
    by_hand(place[1], newer)
    for one in (follower, other):
        one.refresh()
        assert one.active.model is not None
        assert (one.active.model.version, one.active.release) == (newer, 2)


def test_going_back_and_promoting_a_canary_load_nothing(
    place: Place,  # noqa: F811
    newer: str,
    follower: ReleaseFollower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, loaded = place[1], list[str]()
    load = follower.load

    def counted(version: str) -> LoadedModel:
        loaded.append(version)
        return load(version)

    monkeypatch.setattr(follower, "load", counted)
    old = champion(engine)
    for change in (
        lambda: challenge(engine, newer, 10),
        lambda: by_hand(engine, newer),
        lambda: go_back(engine, to=old, who="Bob"),
        lambda: go_back(engine, to=newer, who="Bob"),
    ):
        change()
        follower.refresh()
        assert follower.active.release == number(engine)
        assert follower.active.model is not None
        assert follower.active.model.version == champion(engine)
    assert loaded == [newer]


def test_a_halt_is_followed_while_a_model_is_being_loaded(
    place: Place,  # noqa: F811
    newer: str,
    follower: ReleaseFollower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, goes_on, load = threading.Event(), threading.Event(), follower.load

    def slow(version: str) -> LoadedModel:
        begun.set()
        assert goes_on.wait(60)
        return load(version)

    monkeypatch.setattr(follower, "load", slow)
    follower.start()
    by_hand(place[1], newer)
    assert begun.wait(60)
    halt_service(place[1], policy=HaltPolicy.REFUSE, who="ann", why="labels are wrong")
    halted = time.monotonic()
    while follower.active.halt is None:
        assert time.monotonic() - halted < 30
        time.sleep(0.01)
    assert follower.active.release == 1  # the model is still being loaded
    goes_on.set()
    while follower.active.release != 2:
        assert time.monotonic() - halted < 60
        time.sleep(0.01)
    assert follower.active.halt is not None  # a release ends no halt of a person
