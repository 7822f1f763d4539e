# ruff: noqa: F811 - fixtures
"""Answers from the cache: those of the model in service, bounded, and each recorded anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.database import connect
from core.image_statistics import unpacked
from core.workspace import load_workspace
from models.registry.halts import HaltPolicy
from models.registry.releases import current_release, release
from models.serving import decoders, service
from models.serving.answer_cache import OVERHEAD, AnswerCache, Computed, Maker
from models.serving.prediction_store import drain, find_prediction
from tests.models.halting import halt_service, resume_service
from tests.models.saved_models import png, save
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    look,
    place,
    send,
    serving,
    template,
)

ONE, OTHER = Maker("1" * 64), Maker("2" * 64)


def computed(maker: Maker = ONE, value: float = 0.5) -> Computed:
    return Computed(maker, np.full(2, value, np.float32), b"e" * 12, b"s" * 20)


SIZE = OVERHEAD + 8 + 12 + 20


def test_an_entry_is_of_one_image_one_model_and_one_runtime() -> None:
    cache = AnswerCache(10 * SIZE)
    cache.put("a", computed())
    assert cache.get("a", ONE) is not None
    assert cache.get("b", ONE) is None
    assert cache.get("a", OTHER) is None
    assert cache.get("a", Maker(ONE.digest, "onnxruntime")) is None


def test_what_was_not_used_longest_leaves_first_and_the_bounds_hold() -> None:
    for cache in (AnswerCache(2 * SIZE), AnswerCache(10**6, most_entries=2)):
        for name in "ab":
            cache.put(name, computed())
        assert cache.get("a", ONE)
        cache.put("c", computed())
        assert [cache.get(name, ONE) is not None for name in "abc"] == [True, False, True]
        state = cache.status()
        assert state is not None and (state["entries"], state["bytes"]) == (2, 2 * SIZE)


def test_an_entry_that_is_put_again_counts_once() -> None:
    cache = AnswerCache(10 * SIZE)
    cache.put("a", computed())
    cache.put("a", computed(value=0.25))
    state, entry = cache.status(), cache.get("a", ONE)
    assert state is not None and (state["entries"], state["bytes"]) == (1, SIZE)
    assert entry is not None and entry.output[0] == 0.25


def test_a_bound_of_zero_stores_nothing_and_one_too_small_for_an_entry_neither() -> None:
    for bound in (0, SIZE - 1):
        cache = AnswerCache(bound)
        cache.put("a", computed())
        assert cache.get("a", ONE) is None
    assert AnswerCache(0).status() is None


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is decoded from now on."""
    calls, real = list[object](), decoders.decode_inspected

    def decode(inspected: Any) -> np.ndarray:
        calls.append(inspected)
        return real(inspected)

    monkeypatch.setattr(decoders, "decode_inspected", decode)
    return calls


def answer(
    client: TestClient,
    *images: bytes,
) -> Any:
    return send(client, *images).json()["predictions"]


def test_the_same_bytes_are_decoded_once_and_recorded_each_time(
    client: TestClient, place: Place, decoded: list[object]
) -> None:
    first, again = answer(client, png(1))[0], answer(client, png(1), png(2))
    assert len(decoded) == 2  # one of each image
    assert again[0]["prediction_id"] != first["prediction_id"]
    same = {"prediction_id", "file"}
    assert {k: v for k, v in again[0].items() if k not in same} == {
        k: v for k, v in first.items() if k not in same
    }
    workspace, engine = place
    assert drain(engine, workspace.traffic) == 3
    rows = [find_prediction(engine, one["prediction_id"]) for one in (first, again[0])]
    one, two = (row for row in rows if row is not None)
    assert two.served_at > one.served_at and two.request_id != one.request_id
    assert two.embedding == one.embedding and two.statistics == one.statistics
    assert np.isfinite(unpacked([two.statistics])).any()
    state = client.get("/status").json()["answer_cache"]
    assert (state["hits"], state["misses"], state["hit_rate"]) == (1, 2, 0.3333)
    assert 'hone_answer_cache_total{outcome="hit"}' in client.get("/metrics").text


def test_an_answer_of_a_model_is_never_given_for_another_and_not_after_a_rollback(
    client: TestClient, place: Place, decoded: list[object]
) -> None:
    workspace, engine = place
    old = answer(client, png())[0]
    current = current_release(engine)
    assert current is not None
    newer = save(workspace, engine, seed=1)
    for number, version in enumerate((newer, current.champion), start=1):
        release(
            engine, version=version, verdict_id=None, who="Ann", why="a test",
            expected=number, override=True,
        )  # fmt: skip
        assert look(client)["model"] == version
        given = answer(client, png())[0]
        assert given["model"] == version
        assert (given["probabilities"] == old["probabilities"]) is (version == old["model"])
    assert len(decoded) == 2  # what the first model made of it is still what it makes of it


def test_a_request_that_was_looked_up_for_a_model_that_is_replaced_is_computed_anew(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = place
    answer(client, png())
    newer = save(workspace, engine, seed=1)
    hone = service.app.state.hone
    monkeypatch.setattr(decoders, "SMALL", 0)  # looked up by one thread, answered by another
    hand_on = hone._inference._decoders._hand_on

    def release_first(request: Any) -> None:
        monkeypatch.setattr(hone._inference._decoders, "_hand_on", hand_on)
        assert request.pictures[0].computed is not None
        release(
            engine, version=newer, verdict_id=None, who="Ann", why="a test", expected=1,
            override=True,
        )  # fmt: skip
        hone._follower.refresh()
        hand_on(request)

    monkeypatch.setattr(hone._inference._decoders, "_hand_on", release_first)
    given = answer(client, png())[0]
    assert given["model"] == newer
    assert given["probabilities"] == answer(client, png())[0]["probabilities"]


def test_review_and_halt_are_those_of_now(client: TestClient, place: Place) -> None:
    engine = place[1]
    hone = service.app.state.hone
    hone._inference._needs_review_below = 0.0
    assert answer(client, png())[0]["needs_review"] is False
    hone._inference._needs_review_below = 1.0
    assert answer(client, png())[0]["needs_review"] is True
    hone._inference._needs_review_below = 0.0
    halt_service(engine, policy=HaltPolicy.ABSTAIN, who="ann", why="a test")
    look(client)
    given = answer(client, png())[0]
    assert given["abstain"] is True and given["needs_review"] is True
    resume_service(engine, who="ann", why="a test")
    look(client)
    assert "abstain" not in answer(client, png())[0]


def test_a_refused_image_is_inspected_each_time_and_never_stored(client: TestClient) -> None:
    for _ in range(2):
        assert answer(client, b"no image")[0]["error"]["reason"] == "NOT_AN_IMAGE"
    state = client.get("/status").json()["answer_cache"]
    assert (state["hits"], state["entries"]) == (0, 0)


def test_pre_annotations_neither_use_nor_fill_it(client: TestClient, place: Place) -> None:
    hone = service.app.state.hone
    hone._inference.ask("label-studio", [png()], recorded=False).result()
    assert client.get("/status").json()["answer_cache"]["entries"] == 0


def test_it_is_off_by_its_setting(
    place: Place, monkeypatch: pytest.MonkeyPatch, decoded: list[object], tmp_path: Path
) -> None:
    monkeypatch.setenv("HONE_ANSWER_CACHE", "0")
    with serving() as client:
        assert answer(client, png())[0]["label"] == answer(client, png())[0]["label"]
        assert client.get("/status").json()["answer_cache"] is None
    assert len(decoded) == 2
    workspace = load_workspace(place[0].root)
    assert drain(connect(workspace.database), workspace.traffic) == 2
