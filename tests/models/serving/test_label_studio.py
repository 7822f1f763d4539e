"""The service as a model inside Label Studio: who may ask it, and what is answered."""

import asyncio
import base64
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import torch
from sqlalchemy import Engine

from core.database import connect
from core.http_access import RateLimit
from core.workspace import Workspace, load_workspace
from models.kinds import KINDS
from models.registry.releases import champion
from models.serving import batcher, label_studio, service
from models.serving.label_studio import Backend, is_blind
from models.serving.prediction_store import drain
from models.serving.release_follower import ReleaseFollower
from models.serving.screen import Screen, screen_of
from models.serving.segments import SegmentWriter
from tests.models.saved_models import CLASSES, make_workspace, png, put_in_service, save

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient

Place = tuple[Workspace, Engine]
SECRET = "open:sesame"
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="cat"/><Choice value="dog"/><Choice value="eel"/></Choices></View>'
)
PROTOCOL = [
    ("GET", "health"), ("POST", "setup"), ("POST", "predict"), ("GET", "versions"),
    ("POST", "webhook"),
]  # fmt: skip

KIND = KINDS["classification"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one released model and ten images staged, to be copied."""
    workspace, engine = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    put_in_service(engine, save(workspace, engine))
    engine.dispose()
    (workspace.staged / "images").mkdir(parents=True)
    for number in range(10):
        (workspace.staged / "images" / f"{number}.png").write_bytes(png(number))
    return workspace.root


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A workspace of the test's own, and the password set."""
    workspace = load_workspace(shutil.copytree(template, tmp_path / "workspace"))
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HONE_BACKEND_SECRET", SECRET)
    monkeypatch.chdir(tmp_path)
    return workspace, connect(workspace.database)


@contextmanager
def serving() -> Iterator[TestClient]:
    """The service without BentoML's middleware, asked by Label Studio."""
    hone = service.Hone()
    with TestClient(service.app) as client:
        client.auth = httpx.BasicAuth("anybody", SECRET)
        yield client
    hone.end()


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with serving() as client:
        yield client


def task(number: int, **more: Any) -> dict[str, Any]:
    """A task as Label Studio sends it, about the image of this number."""
    return {
        "id": 100 + number,
        "data": {"image": f"/data/local-files/?d=images/{number}.png", "sample_id": "x"},
        "predictions": [],
        "annotations": [],
        **more,
    }


def ask(client: TestClient, *tasks: Any, config: str = CONFIG) -> list[Any]:
    """The results for these tasks."""
    body = {"tasks": tasks, "project": "1.2", "label_config": config, "params": {"context": None}}
    response = client.post("/label-studio/predict", json=body)
    assert response.status_code == 200, response.text
    results: list[Any] = response.json()["results"]
    assert len(results) == len(tasks)
    return results


def class_of(result: Any) -> str:
    [guess] = result
    [region] = guess["result"]
    [name] = region["value"]["choices"]
    return str(name)


def counted(client: TestClient) -> dict[str, int]:
    """Why tasks had no guess, as the status says."""
    known: dict[str, int] = client.get("/status").json()["label_studio"]["without_pre_annotation"]
    return known


def reason(response: httpx.Response) -> str:
    return str(response.json()["error"]["reason"])


def test_a_guess_is_what_the_service_answers_for_the_same_image(client: TestClient) -> None:
    [result] = ask(client, task(3))
    served = client.post("/predict", files={"images": ("a.png", png(3))}).json()["predictions"][0]
    assert result == [
        {
            "model_version": served["model"],
            "score": served["confidence"],
            "result": [
                {
                    "from_name": "label",
                    "to_name": "image",
                    "type": "choices",
                    "value": {"choices": [served["label"]]},
                }
            ],
        }
    ]


def test_many_tasks_are_answered_in_order_by_one_forward_pass_for_each_64(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [ask(client, task(number))[0][0]["score"] for number in range(10)]
    passes: list[int] = []
    real = batcher.predict

    def counting(network: Any, images: torch.Tensor, **more: Any) -> Any:
        passes.append(len(images))
        return real(network, images, **more)

    monkeypatch.setattr(batcher, "predict", counting)
    found = ask(client, *(task(number % 10) for number in range(130)))
    assert passes == [64, 64, 2]
    scores = [result[0]["score"] for result in found]
    assert scores == pytest.approx([alone[number % 10] for number in range(130)], abs=1e-4)


def test_what_is_guessed_for_annotators_is_no_traffic(client: TestClient, place: Place) -> None:
    workspace, engine = place
    ask(client, *map(task, range(10)))
    assert drain(engine, workspace.traffic) == 0
    assert not list(workspace.traffic.glob("*.seg"))
    client.post("/predict", files={"images": ("a.png", png(1))})
    ask(client, task(2))
    assert drain(engine, workspace.traffic) == 1


def test_a_disk_that_takes_no_record_stops_no_guess(client: TestClient, place: Place) -> None:
    place[0].traffic.write_bytes(b"a file where the folder should be")
    assert client.post("/predict", files={"images": ("a.png", png())}).status_code == 503
    assert class_of(ask(client, task(1))[0]) in CLASSES


def test_a_task_without_a_readable_image_has_no_guess_and_the_others_have(
    client: TestClient, place: Place
) -> None:
    images = place[0].staged / "images"
    (images / "bad.png").write_bytes(b"no image")
    (images / "loop.png").symlink_to(images / "loop.png")
    broken = [
        task(0, data={"image": "http://127.0.0.1:9/cat.png"}),
        task(0, data={"image": "s3://bucket/cat.png"}),
        task(0, data={"image": "/data/local-files/?d=images/bad.png"}),
        task(0, data={"image": "/data/local-files/?d=images/loop.png"}),
        task(0, data={"image": 7}),
        task(0, data={}),
        {"id": 1},
        "no task",
    ]
    found = ask(client, task(1), *broken, task(2))
    assert found[1:-1] == [[] for _ in broken]
    assert [class_of(found[0]), class_of(found[-1])] == [
        class_of(ask(client, task(n))[0]) for n in (1, 2)
    ]
    assert counted(client).pop("NOT_STAGED") >= 2
    assert (counted(client)["NOT_AN_IMAGE"], counted(client)["NO_IMAGE"]) == (1, 4)
    assert sum(counted(client).values()) == len(broken)
    assert client.get("/status").json()["label_studio"]["pre_annotations"] == 4


def test_where_images_come_from_is_handed_in(place: Place) -> None:
    workspace, engine = place
    found = ReleaseFollower(engine, workspace.bento_home, threads=1)
    found.refresh()
    writer = SegmentWriter(workspace.traffic)
    loops = batcher.Inference(lambda: found.active, writer, needs_review_below=0.8, threads=1)
    asked: list[str] = []

    def read(address: str) -> bytes:
        asked.append(address)
        return png(4)

    made = Backend(loops, lambda: found.active, read_image=read, secret=SECRET)
    [result] = asyncio.run(
        made.pre_annotations([{"id": 1, "data": {"image": "s3://staged/4.png"}}], CONFIG)
    )
    loops.close()
    assert asked == ["s3://staged/4.png"]
    assert class_of(result) in CLASSES


def test_large_images_are_read_a_few_at_a_time_also_for_requests_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 of the largest are 8 GiB; they are answered in order all the same."""
    monkeypatch.setattr(label_studio, "READ_BYTES", 2 * len(png(1)))
    workspace, engine = place
    follower = ReleaseFollower(engine, workspace.bento_home, threads=1)
    follower.refresh()
    writer = SegmentWriter(workspace.traffic)
    loops = batcher.Inference(lambda: follower.active, writer, needs_review_below=0.8, threads=1)
    waiting: list[int] = []
    most: list[int] = []
    ask_loops = loops.ask

    def ask_for(request_id: str, images: list[bytes], *, recorded: bool) -> Any:
        waiting.append(len(images))
        most.append(sum(waiting))
        asked = ask_loops(request_id, images, recorded=recorded)
        asked.add_done_callback(lambda answers: waiting.remove(len(images)))
        return asked

    monkeypatch.setattr(loops, "ask", ask_for)
    made = Backend(
        loops, lambda: follower.active, read_image=lambda address: png(int(address)), secret=SECRET
    )

    async def play() -> list[Any]:
        tasks = [{"id": n, "data": {"image": str(n)}} for n in range(12)]
        return await asyncio.gather(*(made.pre_annotations(tasks, CONFIG) for _ in range(3)))

    first, *others = asyncio.run(play())
    loops.close()
    assert len(first) == 12 and all(first) and all(first == other for other in others)
    assert max(most) <= 3 and sum(most) >= 36


def test_a_blind_task_stays_blind(client: TestClient) -> None:
    blind = {"model_version": "older", "score": 0.4, "result": []}
    shown = {"model_version": "older", "score": 0.4, "result": [{"value": {"choices": ["cat"]}}]}
    first, second = ask(client, task(1, predictions=[blind]), task(1, predictions=[shown]))
    assert first == [{**second[0], "result": []}]
    assert class_of(second) in CLASSES
    assert not is_blind({"predictions": 3})


def test_another_projects_screen_gets_the_guess_where_it_belongs(client: TestClient) -> None:
    config = """<View><Header value="hello"/><Image name="photo" value="$picture"/>
      <Text name="words" value="$words"/>
      <Choices name="mood" toName="words"><Choice value="cat"/></Choices>
      <Choices name="spot" toName="photo" perRegion="true"><Choice value="cat"/></Choices>
      <Choices name="one" toName="photo"><Choice value="cat"/></Choices>
      <Choices name="beast" toName="photo"><Choice value="eel"/><Choice value="cat"/>
        <Choice value="dog"/><Choice value="none of them"/></Choices></View>"""
    assert screen_of(config, CLASSES, KIND) == Screen(
        "beast", "photo", "picture", frozenset({"eel", "cat", "dog", "none of them"}), KIND
    )
    address = task(5)["data"]["image"]
    [result] = ask(client, {"id": 1, "data": {"picture": address}}, config=config)
    assert (result[0]["result"][0]["from_name"], result[0]["result"][0]["to_name"]) == (
        "beast", "photo",
    )  # fmt: skip
    assert class_of(result) == class_of(ask(client, task(5))[0])


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "<View/>",
        CONFIG.replace("Choices", "Labels"),
        CONFIG.replace('toName="image"', 'toName="other"'),
        '<!DOCTYPE x [<!ENTITY a "cat">]>' + CONFIG,
        CONFIG.replace("cat", "1").replace("dog", "2").replace("eel", "3"),
    ],
)
def test_a_screen_that_does_not_ask_for_our_classes_gets_no_guess(
    client: TestClient, config: str
) -> None:
    assert ask(client, task(1), task(2), config=config) == [[], []]
    assert counted(client) == {"NO_CHOICE": 2}


def test_a_class_that_the_screen_lacks_is_not_guessed(client: TestClient) -> None:
    said = [class_of(result) for result in ask(client, *map(task, range(10)))]
    config = CONFIG.replace(f'<Choice value="{said[0]}"/>', "")
    found = ask(client, *map(task, range(10)), config=config)
    assert [bool(result) for result in found] == [name != said[0] for name in said]
    assert counted(client) == {"UNKNOWN_CLASS": said.count(said[0])}


def test_before_a_release_there_are_no_guesses_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = make_workspace(tmp_path / "new")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setenv("HONE_BACKEND_SECRET", SECRET)
    (workspace.staged / "images").mkdir(parents=True)
    (workspace.staged / "images" / "1.png").write_bytes(png(1))
    with serving() as client:
        assert client.get("/label-studio/health").status_code == 200
        assert client.post("/label-studio/setup", json={}).json() == {"model_version": ""}
        assert client.get("/label-studio/versions").json() == {"versions": []}
        assert ask(client, task(1), task(2)) == [[], []]
        assert counted(client) == {"NO_MODEL": 2}
        version = save(workspace, engine)
        put_in_service(engine, version)
        service.app.state.hone._follower.refresh()
        assert ask(client, task(1))[0][0]["model_version"] == version


def test_a_new_champion_guesses_under_its_own_name(client: TestClient, place: Place) -> None:
    workspace, engine = place
    old = champion(engine)
    newer = save(workspace, engine, seed=1)
    put_in_service(engine, newer)
    assert ask(client, task(1))[0][0]["model_version"] == old
    service.app.state.hone._follower.refresh()
    assert ask(client, task(1))[0][0]["model_version"] == newer
    assert client.get("/label-studio/versions").json() == {"versions": [newer]}


def test_the_project_goes_by_the_version_it_was_connected_with(
    client: TestClient, place: Place
) -> None:
    def version(extra: Any) -> str:
        body = {"project": "1.2", "schema": CONFIG, "access_token": "t", "extra_params": extra}
        return str(client.post("/label-studio/setup", json=body).json()["model_version"])

    assert version({"model_version": "hone:0001-earlier"}) == "hone:0001-earlier"
    assert version(None) == version({}) == version({"model_version": 7}) == champion(place[1])


def test_what_cannot_be_guessed_in_time_has_no_guess(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many they are: one line in the log."""
    monkeypatch.setattr(label_studio, "SECONDS", -1.0)
    assert ask(client, *map(task, range(200))) == [[]] * 200
    assert counted(client) == {"LATE": 200}
    assert len([line for line in caplog.messages if "LATE" in line]) == 1


def test_a_model_that_fails_at_some_tasks_still_guesses_for_the_others(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = batcher.predict

    def fails_on_pairs(network: Any, images: torch.Tensor, **more: Any) -> Any:
        if len(images) == 2:
            raise RuntimeError("it hurts")
        return real(network, images, **more)

    monkeypatch.setattr(batcher, "predict", fails_on_pairs)
    monkeypatch.setattr(label_studio, "AT_ONCE", 2)
    found = ask(client, *map(task, range(5)))
    assert [bool(result) for result in found] == [False] * 4 + [True]
    assert counted(client) == {"UNAVAILABLE": 4}


def test_traffic_is_answered_while_guesses_are_made(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answered = batcher.predict, []

    def busy(network: Any, images: torch.Tensor, **more: Any) -> Any:
        if len(images) == 3:  # the annotator's; it goes on when the client has an answer
            served = service.app.state.hone._inference.ask("served", [png()])
            answered.append(served.result(timeout=60)[0]["label"])
        return real(network, images, **more)

    monkeypatch.setattr(batcher, "predict", busy)
    assert all(ask(client, task(1), task(2), task(3)))
    assert answered[0] in CLASSES


def test_what_the_env_file_says_reaches_the_workers_in_their_folder(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    del os.environ["HONE_BACKEND_SECRET"]
    (tmp_path / ".env").write_text(
        "HONE_BACKEND_SECRET=from-the-file\nLABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=workspace/staged\n"
    )
    cast(Any, service.Hone).inject_config()  # as `bentoml serve` does
    cast(Any, service.Hone).inner.check_before_serving()
    assert os.environ["HONE_BACKEND_SECRET"] == "from-the-file"
    assert os.environ["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] == str(place[0].staged)


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize(("method", "path"), PROTOCOL)
def test_both_spellings_answer_without_a_redirect(
    client: TestClient, method: str, path: str, ending: str
) -> None:
    body = {"tasks": [task(1)], "label_config": CONFIG}
    response = client.request(
        method, f"/label-studio/{path}{ending}", json=body, follow_redirects=False
    )
    assert response.status_code == 200


@pytest.mark.parametrize(("method", "path"), PROTOCOL)
def test_who_does_not_know_the_password_is_told_nothing(
    client: TestClient, method: str, path: str
) -> None:
    client.auth = None

    def basic(words: str) -> str:
        return f"Basic {base64.b64encode(words.encode()).decode()}"

    for header in (
        None, "", "Basic", "Basic !!", f"Bearer {SECRET}", SECRET, basic(SECRET), basic("hone:"),
        basic(f"hone:{SECRET} "), basic("hone:opén"), basic(f"hone:{SECRET[:-1]}"),
    ):  # fmt: skip
        headers = {} if header is None else {"Authorization": header}
        response = client.request(method, f"/label-studio/{path}", headers=headers, content=b"{")
        assert (response.status_code, reason(response)) == (401, "WRONG_PASSWORD")
        assert response.headers["WWW-Authenticate"] == 'Basic realm="hone"'
        assert SECRET not in response.text
        assert "hone:0" not in response.text
    assert client.request(
        method, f"/label-studio/{path}", headers={"Authorization": basic(f":{SECRET}")}
    ).status_code in (200, 400)


@pytest.mark.parametrize(("method", "path"), PROTOCOL)
def test_without_a_password_set_it_is_closed_and_says_what_to_set(
    place: Place, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.delenv("HONE_BACKEND_SECRET")
    with serving() as client:
        for password in (SECRET, "", "None"):
            client.auth = httpx.BasicAuth("hone", password)
            response = client.request(method, f"/label-studio/{path}")
            assert (response.status_code, reason(response)) == (503, "NO_SECRET")
            assert "set it to a password of your choice" in response.text
        assert client.get("/status").json()["label_studio"]["enabled"] is False


def test_an_event_is_taken_and_does_nothing(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/status").json()["label_studio"]
    event = {"action": "ANNOTATION_CREATED", "project": {"token": "t"}, "task": task(1)}
    for body in (json.dumps(event).encode(), b"", b"nonsense", json.dumps({
        "action": "START_TRAINING"}).encode()):  # fmt: skip
        response = client.post("/label-studio/webhook", content=body)
        assert (response.status_code, response.json()) == (200, {})
    assert client.get("/status").json()["label_studio"] == before
    monkeypatch.setattr(label_studio, "EVENT_BYTES", 100)
    response = client.post("/label-studio/webhook", content=bytes(200))
    assert (response.status_code, reason(response)) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"tasks"'])
def test_a_body_that_is_no_object_is_a_bad_request(client: TestClient, body: bytes) -> None:
    for path in ("predict", "setup"):
        response = client.post(f"/label-studio/{path}", content=body)
        assert (response.status_code, reason(response)) == (400, "NOT_JSON")


@pytest.mark.parametrize("body", [{}, {"tasks": []}, {"tasks": {}, "label_config": CONFIG}])
def test_a_body_without_tasks_or_screen_is_a_bad_request(
    client: TestClient, body: dict[str, Any]
) -> None:
    response = client.post("/label-studio/predict", json=body)
    assert (response.status_code, reason(response)) == (400, "BAD_BODY")


def test_a_body_over_the_limit_is_not_read_to_its_end(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio, "BODY_BYTES", 10_000)
    response = client.post("/label-studio/predict", content=bytes(20_000))
    assert (response.status_code, reason(response)) == (413, "BODY_TOO_LARGE")


def test_what_is_not_of_the_protocol_is_not_there(client: TestClient) -> None:
    assert client.post("/label-studio/train").status_code == 404
    assert client.get("/label-studio/predict").status_code == 405
    assert client.get("/label-studio").status_code == 404


def test_no_tasks_have_no_results(client: TestClient) -> None:
    assert ask(client) == []


def test_a_password_that_is_no_ascii_is_wrong(client: TestClient) -> None:
    client.auth = None
    headers = {b"Authorization": "Basic é".encode()}
    assert client.get("/label-studio/health", headers=headers).status_code == 401


def test_text_that_no_json_can_hold_is_answered(client: TestClient) -> None:
    version = '{"extra_params": {"model_version": "\\ud800"}}'
    response = client.post("/label-studio/setup", content=version)
    assert response.json()["model_version"] == client.get("/status").json()["model"]
    unknown = '{"id": 1, "data": {"image": "/data/local-files/?d=\\ud800.png"}}'
    body = f'{{"tasks": [{unknown}], "label_config": {json.dumps(CONFIG)}}}'
    response = client.post("/label-studio/predict", content=body)
    assert (response.status_code, response.json()) == (200, {"results": [[]]})


def test_more_calls_than_annotators_make_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.app.state.hone.backend, "limit", RateLimit(0.001, burst=2))
    wrong = client.get("/label-studio/health", auth=("anybody", "wrong"))
    replies = [wrong, *(client.get("/label-studio/health") for _ in range(3))]
    assert [reply.status_code for reply in replies] == [401, 200, 200, 429]
    assert reason(replies[-1]) == "TOO_MANY_REQUESTS"
    assert replies[-1].headers["Retry-After"] == "1"
