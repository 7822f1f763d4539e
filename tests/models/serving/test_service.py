"""The service, in this process: each answer is recorded, and one bad image spoils no other."""

import asyncio
import hashlib
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware

from core.database import connect
from core.http_access import BearerGuard
from core.image_statistics import Container, packed, statistics_of
from core.images import InspectedImage, decode_inspected, inspect_image
from core.workspace import Workspace, load_workspace
from models.network.images import prepare
from models.registry.model_store import entry, load_model
from models.registry.releases import champion
from models.scoring.predict import predict
from models.serving import batcher, decoders, release_follower, requests, service
from models.serving.batcher import Inference, Unavailable
from models.serving.bodies import CompleteBodies, Limits
from models.serving.prediction_store import (
    drain,
    find_prediction,
    read_served_image,
    window,
)
from models.serving.release_follower import ActiveModel, ReleaseFollower
from models.serving.segment_reader import read_records
from models.serving.segments import SegmentWriter
from tests.models.saved_models import CLASSES, make_workspace, png, put_in_service, save

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient

Place = tuple[Workspace, Engine]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one released model, to be copied."""
    workspace, engine = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    put_in_service(engine, save(workspace, engine))
    engine.dispose()
    return workspace.root


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A workspace of the test's own, with one released model."""
    workspace = load_workspace(shutil.copytree(template, tmp_path / "workspace"))
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    return workspace, connect(workspace.database)


@contextmanager
def serving() -> Iterator[TestClient]:
    """The service without BentoML's middleware, which a process can have once; see tests/system."""
    hone = service.Hone()
    with TestClient(service.app) as client:
        yield client
    hone.end()


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with serving() as client:
        yield client


def send(client: TestClient, *images: bytes, request_id: str | None = None) -> httpx.Response:
    headers = {"X-Request-ID": request_id} if request_id else {}
    files = [("images", (f"{number}.png", image)) for number, image in enumerate(images)]
    return client.post("/predict", files=files, headers=headers)


def reason(response: httpx.Response) -> str:
    return str(response.json()["error"]["reason"])


def look(client: TestClient) -> dict[str, Any]:
    """The status after the follower looked."""
    service.app.state.hone._follower.refresh()
    return dict(client.get("/status").json())


def test_an_image_is_answered_with_label_and_probabilities(
    client: TestClient, place: Place
) -> None:
    response = send(client, png())
    assert response.status_code == 200
    [found] = response.json()["predictions"]
    assert set(found["probabilities"]) == set(CLASSES)
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found["label"] == max(found["probabilities"], key=found["probabilities"].__getitem__)
    assert found["confidence"] == found["probabilities"][found["label"]]
    assert found["sample_id"] == hashlib.sha256(png()).hexdigest()
    assert found["model"] == client.get("/status").json()["model"]


def test_an_answer_is_what_the_model_predicts_with_its_temperature(
    client: TestClient, place: Place
) -> None:
    workspace, engine = place
    [answer] = send(client, png()).json()["predictions"]
    network = load_model(engine, workspace.bento_home, str(champion(engine))).network
    picture = decode_inspected(inspect_image(png()))
    image = prepare(picture, workspace.image_size)[None]
    assert float(network.temperature) == 1.5
    [expected] = predict(network, image).outputs
    assert list(answer["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-6)
    network.temperature.fill_(1)
    assert answer["confidence"] < predict(network, image).outputs.max() - 1e-4


def test_an_answer_is_on_disk_with_the_way_back_to_its_image(
    client: TestClient, place: Place
) -> None:
    workspace, engine = place
    found = send(client, png(1), png(2)).json()
    assert drain(engine, workspace.traffic) == 2
    row = find_prediction(engine, found["predictions"][1]["prediction_id"])
    assert row is not None
    assert read_served_image(workspace.traffic, row) == png(2)
    assert (row.request_id, row.label) == (found["request_id"], found["predictions"][1]["label"])
    assert row.needs_review == found["predictions"][1]["needs_review"]
    assert row.source is None


def test_an_answer_is_recorded_with_statistics_and_source(client: TestClient, place: Place) -> None:
    workspace, engine = place
    files = {"images": ("one.png", png(1))}
    response = client.post("/predict", files=files, headers={"X-Source": "gate 3, north"})
    drain(engine, workspace.traffic)
    row = find_prediction(engine, response.json()["predictions"][0]["prediction_id"])
    assert row is not None
    assert row.source == "gate 3, north"
    content = inspect_image(png(1)).bare
    picture = decode_inspected(inspect_image(png(1)))
    pixels = prepare(picture, workspace.image_size).permute(1, 2, 0).numpy()
    stored = Container(picture.shape[1], picture.shape[0], len(content), "PNG")
    assert [row.statistics] == packed(statistics_of(pixels, stored)[None])


@pytest.mark.parametrize("source", ["", "a" * 101, "gate\t3"])
def test_a_source_that_no_header_should_have_is_refused(client: TestClient, source: str) -> None:
    files = {"images": ("one.png", png(1))}
    response = client.post("/predict", files=files, headers={"X-Source": source})
    assert (response.status_code, reason(response)) == (400, "BAD_SOURCE")


def test_a_bad_image_gets_its_reason_and_the_others_their_answers(client: TestClient) -> None:
    response = send(client, png(1), b"no image", png(2), png(3)[:200], b"")
    assert response.status_code == 200
    found = response.json()["predictions"]
    assert [one["error"]["reason"] if "error" in one else one["file"] for one in found] == [
        "0.png", "NOT_AN_IMAGE", "2.png", "TRUNCATED", "EMPTY",
    ]  # fmt: skip
    assert found[2]["sample_id"] == hashlib.sha256(png(2)).hexdigest()


def test_bad_images_alone_are_a_bad_request_and_not_recorded(
    client: TestClient, place: Place
) -> None:
    response = send(client, b"no image", b"")
    assert response.status_code == 400
    assert len(response.json()["predictions"]) == 2
    assert drain(place[1], place[0].traffic) == 0


def test_an_address_in_a_file_field_is_refused(client: TestClient) -> None:
    text = [("images", (None, "http://127.0.0.1:9/cat.png"))]
    response = client.post("/predict", files=text)
    assert (response.status_code, reason(response)) == (400, "NOT_A_FILE")
    both = [*text, ("images", ("cat.png", png()))]
    assert reason(client.post("/predict", files=both)) == "NOT_A_FILE"


def test_what_is_no_form_of_images_is_refused(client: TestClient) -> None:
    url = "/predict"
    assert reason(client.post(url, json={"images": []})) == "NOT_A_FORM"
    assert reason(client.post(url, data={"images": "http://x"})) == "NOT_A_FORM"
    assert client.post(url, content=png(), headers={"Content-Type": "image/png"}).status_code == 415
    pickled = {"Content-Type": "application/vnd.bentoml+pickle"}
    assert client.post(url, content=b"cos\nsystem\n", headers=pickled).status_code == 415
    assert reason(client.post(url, files={"picture": ("a.png", png())})) == "UNKNOWN_FIELD"
    empty = {"Content-Type": "multipart/form-data; boundary=x"}
    assert reason(client.post(url, content=b"--x--\r\n", headers=empty)) == "NO_IMAGE"
    assert reason(client.post(url, content=b"nonsense", headers=empty)) == "BAD_FORM"
    unbound = {"Content-Type": "multipart/form-data"}
    assert reason(client.post(url, content=b"--x--\r\n", headers=unbound)) == "BAD_FORM"
    assert client.get(url).status_code == 405


@pytest.mark.parametrize("charset", ["undefined", "punycode", "raw_unicode_escape"])
def test_a_charset_for_which_python_fails_is_refused_and_nothing_is_recorded(
    client: TestClient, place: Place, charset: str
) -> None:
    form = httpx.Request("POST", "http://x/", files={"images": (r"\ud800.png", png())})
    headers = {"Content-Type": f"{form.headers['Content-Type']}; charset={charset}"}
    response = client.post("/predict", content=form.read(), headers=headers)
    assert (response.status_code, reason(response)) == (400, "BAD_CHARSET")
    assert drain(place[1], place[0].traffic) == 0


def test_an_error_that_no_rule_foresaw_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: object) -> None:
        raise ArithmeticError("a secret of the workspace")

    monkeypatch.setattr(service, "request_id_of", fail)
    hone = service.Hone()
    response = send(TestClient(service.app, raise_server_exceptions=False), png())
    hone.end()
    assert (response.status_code, reason(response)) == (500, "INTERNAL_ERROR")
    assert "ArithmeticError" in response.text and "secret" not in response.text


def test_more_images_than_the_limit_are_refused(client: TestClient) -> None:
    response = send(client, *[b"x"] * (requests.IMAGES + 1))
    assert (response.status_code, reason(response)) == (413, "TOO_MANY_IMAGES")


@pytest.mark.parametrize("path", ["/predict", "/predict/"])
def test_both_spellings_of_the_path_answer_without_a_redirect(
    client: TestClient, path: str
) -> None:
    response = client.post(path, files={"images": ("a.png", png())}, follow_redirects=False)
    assert response.status_code == 200


def test_a_request_repeated_under_its_id_has_the_same_answer_and_one_record(
    client: TestClient, place: Place
) -> None:
    first, again = (send(client, png(1), png(2), request_id="once") for _ in range(2))
    assert first.json() == again.json()
    assert first.headers["X-Request-ID"] == "once"
    [segment] = place[0].traffic.glob("*.seg")
    assert len(list(read_records(segment))) == 2


def test_a_request_in_progress_is_not_forgotten_for_later_ones(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its retry would be computed beside it: a lock on the id keeps out other processes only."""
    hone, begun = service.app.state.hone, list[str]()
    monkeypatch.setattr(service, "REMEMBERED", 2)

    async def play() -> None:
        may_end = asyncio.Event()

        async def answered(request_id: str, images: list[bytes], source: None) -> list[Any]:
            begun.append(request_id)
            if request_id == "slow":
                await may_end.wait()
            return []

        monkeypatch.setattr(hone, "_ask_unless_recorded", answered)
        slow = asyncio.create_task(hone.ask_once("slow", [b"image"]))
        while not begun:
            await asyncio.sleep(0.001)
        for request_id in ("one", "two", "three"):
            await hone.ask_once(request_id, [b"image"])
        retry = asyncio.create_task(hone.ask_once("slow", [b"image"]))
        while hone._asked["slow"].awaited_by < 2 and begun.count("slow") < 2:
            await asyncio.sleep(0.001)
        may_end.set()
        await asyncio.gather(slow, retry)

    asyncio.run(play())
    assert begun == ["slow", "one", "two", "three"]
    assert list(hone._asked) == ["slow", "three"]


def test_a_request_that_comes_as_the_one_before_it_times_out_is_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work of the first is being cancelled: what the second awaits would end with it."""
    hone, begun = service.app.state.hone, list[str]()

    async def play() -> list[Any]:
        async def answered(request_id: str, images: list[bytes], source: None) -> list[Any]:
            begun.append(request_id)
            if len(begun) == 1:
                await asyncio.Event().wait()
            return ["an answer"]

        monkeypatch.setattr(hone, "_ask_unless_recorded", answered)
        monkeypatch.setattr(service.asyncio, "to_thread", at_once)
        first = asyncio.create_task(hone.ask_once("id", [b"image"]))
        while not begun:
            await asyncio.sleep(0)
        first.cancel()  # as a 504 does
        again = asyncio.create_task(hone.ask_once("id", [b"image"]))
        with pytest.raises(asyncio.CancelledError):
            await first
        return list(await again)

    assert asyncio.run(play()) == ["an answer"]
    assert begun == ["id", "id"]


async def at_once(act: Callable[..., Any], *given: Any) -> Any:
    """In the place of `to_thread`: so that the second request asks in the tick of the first."""
    return act(*given)


def test_another_request_under_a_used_id_is_a_conflict(client: TestClient) -> None:
    send(client, png(1), request_id="once")
    response = send(client, png(2), request_id="once")
    assert (response.status_code, reason(response)) == (409, "REQUEST_ID_REUSED")


def test_a_retry_at_another_worker_leaves_one_row(client: TestClient, place: Place) -> None:
    workspace, engine = place
    first = send(client, png(1), request_id="once").json()
    with serving() as other:
        assert send(other, png(1), request_id="once").json() == first
        response = send(other, png(2), request_id="once")
        assert (response.status_code, reason(response)) == (409, "REQUEST_ID_REUSED")
    assert drain(engine, workspace.traffic) == 1


def test_a_retry_after_a_release_gets_the_answer_that_was_recorded(
    client: TestClient, place: Place
) -> None:
    workspace, engine = place
    first = send(client, png(1), b"no image", png(2), request_id="once").json()
    newer = save(workspace, engine, seed=9)
    put_in_service(engine, newer)
    with serving() as other:
        assert send(other, png(1), request_id="new").json()["predictions"][0]["model"] == newer
        again = send(other, png(1), b"no image", png(2), request_id="once").json()
    assert again == first
    assert drain(engine, workspace.traffic) == 3


def test_a_request_that_was_cut_off_while_it_was_recorded_is_completed(
    client: TestClient, place: Place
) -> None:
    workspace, engine = place
    first = send(client, png(1), png(2), request_id="once").json()
    [path] = workspace.traffic.glob("*.seg")
    kept = next(read_records(path))
    path.write_bytes(path.read_bytes()[: kept.end + 30])
    with serving() as other:
        again = send(other, png(1), png(2), request_id="once").json()
    one, two = again["predictions"]
    assert one == first["predictions"][0]
    assert two["prediction_id"] == first["predictions"][1]["prediction_id"]
    assert drain(engine, workspace.traffic) == 2


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\tb"])
def test_a_request_id_of_other_characters_is_refused(client: TestClient, given: str) -> None:
    response = client.post(
        "/predict", files={"images": ("a.png", png())}, headers={"X-Request-ID": given}
    )
    assert (response.status_code, reason(response)) == (400, "BAD_REQUEST_ID")


def test_an_answer_that_cannot_be_recorded_is_not_given(client: TestClient, place: Place) -> None:
    workspace, engine = place
    workspace.traffic.write_bytes(b"a file where the folder should be")
    response = send(client, png(), request_id="once")
    assert (response.status_code, reason(response)) == (503, "UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"
    workspace.traffic.unlink()
    assert send(client, png(), request_id="once").status_code == 200  # a failure is not remembered
    assert drain(engine, workspace.traffic) == 1


def test_below_the_threshold_an_answer_needs_review(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threshold in ("0", "1"):
        monkeypatch.setenv("HONE_NEEDS_REVIEW_BELOW", threshold)
        with serving() as client:
            [found] = send(client, png()).json()["predictions"]
            assert found["needs_review"] is (threshold == "1")


def test_before_a_release_it_is_not_ready_and_then_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = make_workspace(tmp_path / "new")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    with serving() as client:
        assert not service.app.state.hone.__is_ready__()
        assert "no model is released yet" in send(client, png()).text
        put_in_service(engine, save(workspace, engine))
        assert look(client)["release"] == 1
        assert service.app.state.hone.__is_ready__()
        assert send(client, png()).status_code == 200


def test_a_new_release_is_served_without_a_restart(client: TestClient, place: Place) -> None:
    workspace, engine = place
    before = send(client, png()).json()["predictions"][0]
    newer = save(workspace, engine, seed=1)
    put_in_service(engine, newer)
    found = look(client)
    assert (found["model"], found["release"], found["problem"]) == (newer, 2, None)
    after = send(client, png()).json()["predictions"][0]
    assert after["model"] == newer != before["model"]
    assert after["probabilities"] != before["probabilities"]


def test_a_damaged_new_champion_is_not_served_and_named(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = place
    old = client.get("/status").json()["model"]
    newer = save(workspace, engine, seed=1)
    weights = entry(workspace.bento_home, newer) / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\0")
    put_in_service(engine, newer)
    found = look(client)
    assert (found["model"], found["release"]) == (old, 1)
    assert f"release 2 is not served: model {newer} is damaged" in found["problem"]
    assert send(client, png()).json()["predictions"][0]["model"] == old
    weights.write_bytes(whole)
    assert look(client)["model"] == old  # it is not hashed anew every second
    monkeypatch.setattr(release_follower, "RETRY_SECONDS", 0.0)
    service.app.state.hone._follower._failed.clear()
    found = look(client)
    assert (found["model"], found["problem"]) == (newer, None)


def test_a_new_champion_that_fails_at_its_first_image_is_not_served(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = place

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("illegal instruction")

    put_in_service(engine, save(workspace, engine, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(release_follower, "predict", fail)
        found = look(client)
    assert found["release"] == 1
    assert "release 2 is not served: illegal instruction" in found["problem"]


def test_a_database_that_is_away_stops_no_answer(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.database.BUSY_SECONDS", 0.1)
    hone = service.app.state.hone
    hone._follower._engine = connect("postgresql://nobody@127.0.0.1:1/none")
    assert "the database does not answer" in look(client)["problem"]
    assert send(client, png()).status_code == 200
    hone._follower._engine = place[1]
    assert look(client)["problem"] is None


@contextmanager
def limited(limits: Limits) -> Iterator[TestClient]:
    """The service of this process behind limits of the test's own."""
    middleware = [Middleware(CompleteBodies, limits)]
    app = Starlette(routes=service.app.routes, middleware=middleware)
    app.state = service.app.state
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("request_id", [None, "once"])
def test_a_504_stops_the_work_and_nothing_is_recorded(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch, request_id: str | None
) -> None:
    real, decoded, may_go = decoders.decode_inspected, [], threading.Event()

    def held(inspected: InspectedImage) -> np.ndarray:
        decoded.append(inspected)
        may_go.wait()
        return real(inspected)

    monkeypatch.setattr(decoders, "decode_inspected", held)
    with limited(Limits(seconds=0.5)) as impatient:
        response = send(impatient, *map(png, range(64)), request_id=request_id)
        assert (response.status_code, reason(response)) == (504, "TIMED_OUT")
        assert drain(place[1], place[0].traffic) == 0
        may_go.set()
        hone = service.app.state.hone
        hone._inference._decoders.close()  # returns once what waited is done
        assert len(decoded) == 1
        assert drain(place[1], place[0].traffic) == 0
        assert request_id not in hone._asked  # a retry asks anew


def test_more_pixels_than_the_limit_are_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_REQUEST_PIXELS", "1000")
    with serving() as client:
        response = send(client, png(1), png(2), png(3))
        assert (response.status_code, reason(response)) == (413, "TOO_MANY_PIXELS")
        assert "1,200 pixels to decode; 1,000 are the limit" in response.text
        assert send(client, png(1), png(2)).status_code == 200
    assert drain(place[1], place[0].traffic) == 2


@pytest.fixture
def loops(place: Place, tmp_path: Path) -> Iterator[Inference]:
    workspace, engine = place
    found = ReleaseFollower(engine, workspace.bento_home, threads=1)
    found.refresh()
    writer = SegmentWriter(tmp_path / "traffic")
    made = Inference(lambda: found.active, writer, needs_review_below=0.8, threads=1)
    yield made
    made.close()


def test_many_at_once_each_get_their_own_answer(
    loops: Inference, place: Place, tmp_path: Path
) -> None:
    images = [png(seed) for seed in range(40)]
    alone = [loops.ask(f"alone-{n}", [image]).result()[0] for n, image in enumerate(images)]
    ready = threading.Barrier(8)
    found: dict[int, Any] = {}

    def work(part: int) -> None:
        ready.wait()
        asked = {n: loops.ask(f"many-{n}", [images[n], b"bad"]) for n in range(part, 40, 8)}
        found.update({number: answers.result() for number, answers in asked.items()})

    threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, one in enumerate(alone):
        good, bad = found[number]
        assert bad["error"]["reason"] == "NOT_AN_IMAGE"
        assert good["sample_id"] == one["sample_id"]
        assert good["probabilities"] == pytest.approx(one["probabilities"], abs=1e-4)
    assert drain(place[1], tmp_path / "traffic") == 80
    assert window(place[1], limit=100)["prediction_id"].is_unique


def test_a_request_the_model_fails_on_takes_no_other_with_it(
    loops: Inference, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, poison = batcher.predict, png(666)
    poisoned = prepare(decode_inspected(inspect_image(poison)), 16)

    def fails_on_poison(network: Any, images: torch.Tensor, **more: Any) -> Any:
        if (images == poisoned).flatten(1).all(1).any():
            raise RuntimeError("it hurts")
        return real(network, images, **more)

    monkeypatch.setattr(batcher, "predict", fails_on_poison)
    asked = [loops.ask(str(n), [poison if n % 7 == 3 else png(n)]) for n in range(30)]
    for number, answers in enumerate(asked):
        if number % 7 == 3:
            with pytest.raises(Unavailable, match="the model could not answer: it hurts"):
                answers.result()
        else:
            assert answers.result()[0]["label"] in CLASSES


def test_what_waits_is_answered_before_the_threads_end(place: Place, tmp_path: Path) -> None:
    workspace, engine = place
    version = champion(engine)
    assert version is not None
    active = ActiveModel(load_model(engine, workspace.bento_home, version), 1)
    writer = SegmentWriter(tmp_path / "traffic")
    loops = Inference(lambda: active, writer, needs_review_below=0.8, threads=1)
    asked = [loops.ask(str(number), [png(number)]) for number in range(20)]
    loops.close()
    assert all(answers.result()[0]["label"] in CLASSES for answers in asked)


def test_images_are_measured_while_they_pass_through_the_network(
    loops: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures, predicts = threading.Event(), threading.Event()
    inner = loops._predict, batcher.add_statistics

    def predict(*given: Any) -> Any:
        predicts.set()
        assert measures.wait(10)
        return inner[0](*given)

    def measure(pictures: Any) -> None:
        measures.set()
        assert predicts.wait(10)
        inner[1](pictures)

    monkeypatch.setattr(loops, "_predict", predict)
    monkeypatch.setattr(batcher, "add_statistics", measure)
    [given] = loops.ask("once", [png()]).result()
    assert given["label"] in CLASSES


def test_an_image_that_cannot_be_measured_is_not_answered(
    loops: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as during:
        during.setattr(batcher, "add_statistics", fail)
        with pytest.raises(batcher.Unavailable):
            loops.ask("first", [png()]).result()
    assert loops.ask("second", [png()]).result()[0]["label"] in CLASSES


def test_all_that_bentoml_serves_is_behind_the_token() -> None:
    guards = cast(Any, service.Hone).middlewares
    [options] = [options for guard, options in guards if guard is BearerGuard]
    assert options["name"] == "HONE_SERVICE_TOKEN"
    assert options["token"]() is None
