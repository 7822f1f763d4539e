# ruff: noqa: F811 - fixtures
"""A cascade in the service: who answers, under whose name it is recorded, and what may go wrong."""

from typing import Any

import numpy as np
import pytest

from models.registry.challengers import set_challenger, set_front
from models.registry.model_store import entry, load_model, save_model
from models.registry.releases import Mode, current_release
from models.scoring.predict import predict
from models.serving import batcher, decoders, service
from models.serving.cascade import confidences
from models.serving.prediction_store import drain, find_prediction
from tests.models.saved_models import make_card, make_network, png, reference, save
from tests.models.serving.test_answer_cache import answer, decoded  # noqa: F401 - fixtures
from tests.models.serving.test_metrics import Rise
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    look,
    place,
    send,
    template,
)

IMAGES = [png(number) for number in range(8)]


@pytest.fixture
def front(place: Place) -> str:
    """A model that may answer in front of the champion."""
    return save(*place, seed=1)


def sureness(place: Place, client: TestClient, front: str) -> list[float]:
    """The confidence of the front model in each image."""
    change(place, front, 0.0)
    look(client)
    return [one["confidence"] for one in answer(client, *IMAGES)]


def change(place: Place, front: str | None, threshold: float | None) -> None:
    """Set or remove the front model."""
    current = current_release(place[1])
    assert current is not None
    set_front(
        place[1], front=front, threshold=threshold, who="ann", why="a test",
        expected=current.number,
    )  # fmt: skip


def counted(client: TestClient, by: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(one.split()[-1]) for one in lines if f'cascade_total{{by="{by}"}}' in one)


def test_the_front_model_answers_what_it_is_sure_of_and_each_is_recorded_under_its_name(
    client: TestClient, place: Place, front: str
) -> None:
    workspace, engine = place
    alone = answer(client, *IMAGES)
    sure = sureness(place, client, front)
    threshold = sorted(sure)[3]
    change(place, front, threshold)
    status = look(client)
    assert status["cascade"] == {"front": front, "threshold": threshold, "problem": None}
    before = counted(client, "front"), counted(client, "champion")
    given = answer(client, *IMAGES)
    names = [front if one >= threshold else status["model"] for one in sure]
    assert [one["model"] for one in given] == names and set(names) == {front, status["model"]}
    for one, by_champion in zip(given, alone, strict=True):
        if one["model"] == status["model"]:
            assert one["probabilities"] == by_champion["probabilities"]
    drain(engine, workspace.traffic)
    for one in given:
        row = find_prediction(engine, one["prediction_id"])
        assert row is not None and (row.model, row.label) == (one["model"], one["label"])
    after = counted(client, "front"), counted(client, "champion")
    assert (after[0] - before[0], after[1] - before[1]) == (5, 3)


def test_the_cache_gives_the_answers_that_the_cascade_would_give(
    client: TestClient, place: Place, front: str, decoded: list[object]
) -> None:
    answer(client, *IMAGES)  # the champion's are stored
    sure = sureness(place, client, front)  # and now the front model's
    change(place, front, sorted(sure)[3])
    look(client)
    first = [(one["model"], one["probabilities"]) for one in answer(client, *IMAGES)]
    change(place, front, sorted(sure)[5])  # what was sure enough is no more
    look(client)
    second = [one["model"] for one in answer(client, *IMAGES)]
    assert [name for name, _ in first].count(front) == 5 and second.count(front) == 3
    assert len(decoded) == 2 * len(IMAGES)  # by each model once
    change(place, None, None)
    look(client)
    assert front not in [one["model"] for one in answer(client, *IMAGES)]


def test_without_the_front_models_answer_a_stored_one_of_the_champion_is_not_given(
    client: TestClient, place: Place, front: str
) -> None:
    """The champion's traffic is what the front model left to it: the watch rests on that."""
    answer(client, png())
    change(place, front, 0.0)
    look(client)
    assert answer(client, png())[0]["model"] == front


def test_an_image_that_two_models_see_is_measured_once(
    client: TestClient, place: Place, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(place, front, 1.0)  # which nothing reaches: the champion answers all
    champion, measured = look(client)["model"], list[int]()
    inner = decoders.statistics_of_all

    def counting(pixels: np.ndarray, containers: Any) -> np.ndarray:
        measured.append(len(pixels))
        return inner(pixels, containers)

    monkeypatch.setattr(decoders, "statistics_of_all", counting)
    assert {one["model"] for one in answer(client, *IMAGES)} == {champion}
    assert sum(measured) == len(IMAGES)


def test_a_retry_gets_the_answers_of_the_models_that_gave_them(
    client: TestClient, place: Place, front: str
) -> None:
    change(place, front, sorted(sureness(place, client, front))[3])
    look(client)
    first = send(client, *IMAGES, request_id="once").json()
    service.app.state.hone._asked.clear()  # as another worker
    assert send(client, *IMAGES, request_id="once").json() == first


def test_pre_annotations_are_by_the_champion(client: TestClient, place: Place, front: str) -> None:
    change(place, front, 0.0)
    champion = look(client)["model"]
    hone = service.app.state.hone
    [given] = hone._inference.ask("label-studio", [png()], recorded=False).result()
    assert given["model"] == champion


def test_a_front_model_that_cannot_be_loaded_leaves_the_champion_answering(
    client: TestClient, place: Place, front: str
) -> None:
    weights = entry(place[0].bento_home, front) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    change(place, front, 0.0)
    status = look(client)
    assert "damaged" in status["problem"] and front in status["problem"]
    assert status["cascade"] is None
    assert answer(client, png())[0]["model"] == status["model"]


def test_a_front_model_that_fails_leaves_it_to_the_champion_and_is_shown_until_it_answers(
    client: TestClient, place: Place, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(place, front, 0.0)
    champion = look(client)["model"]
    real = batcher.predict

    def fail(*given: Any, name: str, **more: Any) -> Any:
        if name == front:
            raise RuntimeError("no memory")
        return real(*given, name=name, **more)

    rise = Rise()
    with monkeypatch.context() as patched:
        patched.setattr(batcher, "predict", fail)
        assert [one["model"] for one in answer(client, *IMAGES[:3])] == [champion] * 3
    assert rise.of("hone_front_failures_total") == 3
    problem = f"{front} failed, the champion answers: no memory"
    assert look(client)["cascade"]["problem"] == problem
    assert answer(client, IMAGES[4])[0]["model"] == front
    assert look(client)["cascade"]["problem"] is None


def test_the_failure_of_an_earlier_front_model_is_not_shown_for_the_next(
    client: TestClient, place: Place, front: str
) -> None:
    change(place, front, 0.0)
    look(client)
    service.app.state.hone._inference.front_failure = "hone:0000-before", "it failed"
    assert look(client)["cascade"]["problem"] is None


class Changing:
    """A runtime that is another one after each batch, as when an engine fails or is chosen."""

    name, settled, problem = "changing", True, None

    def __init__(self, network: Any) -> None:
        self.network, self.batches = network, 0

    @property
    def key(self) -> str:
        return f"engine {self.batches}"

    def predict(self, images: Any) -> Any:
        self.batches += 1
        return predict(self.network, images)


def test_an_answer_is_the_front_models_though_its_runtime_changed_meanwhile(
    client: TestClient, place: Place, front: str
) -> None:
    sure = sureness(place, client, front)
    threshold = sorted(sure)[3]
    change(place, front, threshold)
    champion = look(client)["model"]
    hone = service.app.state.hone
    active = hone._inference._active()
    object.__setattr__(active.front, "runtime", Changing(active.front.network))
    expected = [front if one >= threshold else champion for one in sure]
    for _ in range(2):  # what a runtime made that is no more is not given again
        assert [one["model"] for one in answer(client, *IMAGES)] == expected
    assert active.front.runtime.batches == 2


def test_a_front_model_for_other_images_does_not_answer_and_the_status_says_why(
    client: TestClient, place: Place
) -> None:
    workspace, engine = place
    network = make_network(3)
    front = save_model(
        engine, workspace.bento_home, network, make_card(image_size=24), reference(network)
    )
    change(place, front, 0.0)
    status = look(client)
    assert status["cascade"]["problem"] == (f"{front} has image_size 24, and {status['model']} 16")
    assert answer(client, png())[0]["model"] == status["model"]


def test_a_confidence_is_the_one_that_is_served(place: Place, front: str) -> None:
    loaded = load_model(place[1], place[0].bento_home, front)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    import torch

    outputs = predict(loaded.network, torch.from_numpy(images)).outputs
    card = loaded.card
    expected = [round(float(one), 6) for one in outputs.max(axis=1)]
    assert confidences(outputs, card.label_kind, card.classes).tolist() == expected


def test_a_stored_answer_of_a_canary_is_only_given_by_the_canary(
    client: TestClient, place: Place, front: str
) -> None:
    alone = answer(client, png())[0]
    set_challenger(
        place[1], version=front, mode=Mode.CANARY, share=50.0, who="ann", why="a test", expected=1
    )
    look(client)
    given: dict[str, list[Any]] = {front: [], alone["model"]: []}
    for number in [*range(20), *range(20)]:
        response = client.post(
            "/predict",
            files={"images": ("one.png", png())},
            headers={"X-Client-Key": f"client-{number}"},
        )
        [one] = response.json()["predictions"]
        given[one["model"]].append(one["probabilities"])
    assert len(given[front]) > 5 < len(given[alone["model"]])
    assert all(one == given[front][0] for one in given[front])
    assert all(one == alone["probabilities"] for one in given[alone["model"]])
    assert given[front][0] != alone["probabilities"]
