"""The service as a model inside a real Label Studio: it guesses, and stays out of the way."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
import pytest
from sqlalchemy import Engine

from core.workspace import Workspace
from labeling.studio import client as exchange
from labeling.studio.ml_backend import connect_backend
from models.registry.releases import champion
from models.serving.prediction_store import drain
from tasks.demo import servers
from tasks.demo.servers import LabelStudioServer
from tests.labeling.studio.outgoing import outgoing
from tests.models.saved_models import make_workspace, png, put_in_service, save
from tests.system.annotators import annotating, sign_up
from tests.system.faulty_proxy import Fault, faulty_proxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parents[2]
SECRET = "open:sesame"
PERSON = "backend-ben@example.com"  # the server is shared: other tests have their own people


@dataclass
class Running:
    """The service of a workspace, reached through a proxy that writes down what it is asked."""

    url: str
    workspace: Workspace
    engine: Engine
    asked: list[str] = field(default_factory=list)

    @property
    def backend(self) -> str:
        return f"{self.url}/label-studio"

    @property
    def model(self) -> str:
        found = champion(self.engine)
        assert found is not None
        return found

    def status(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/status", timeout=60).json())

    def next_champion(self, seed: int) -> str:
        """A new model, released and served."""
        version = save(self.workspace, self.engine, seed=seed)
        put_in_service(self.engine, version)
        while self.status()["model"] != version:
            time.sleep(0.1)
        return version

    def answer(self, number: int) -> dict[str, Any]:
        """What the service answers a client for this image; it is recorded."""
        files = {"images": ("a.png", png(number))}
        response = httpx.post(f"{self.url}/predict", files=files, timeout=60)
        drain(self.engine, self.workspace.traffic)
        return dict(response.json()["predictions"][0])

    def predicts(self) -> int:
        return sum(path.startswith("/label-studio/predict") for path in self.asked)

    def nothing_recorded(self) -> bool:
        return drain(self.engine, self.workspace.traffic) == 0


@pytest.fixture(scope="module")
def service(
    document_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[servers.Server, Workspace, Engine]]:
    """`bentoml serve` of a workspace below Label Studio's document root."""
    workspace, engine = make_workspace(document_root / "backend-service")
    put_in_service(engine, save(workspace, engine))
    (workspace.staged / "images").mkdir(parents=True)
    for number in range(40):
        (workspace.staged / "images" / f"{number}.png").write_bytes(png(number))
    environment = {
        "HONE_WORKSPACE": str(workspace.root),
        "HONE_BACKEND_SECRET": SECRET,
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
    }
    with servers.bentoml(REPOSITORY, tmp_path_factory.mktemp("serve"), environment) as server:
        yield server, workspace, engine


@pytest.fixture
def running(service: tuple[servers.Server, Workspace, Engine]) -> Iterator[Running]:
    server, workspace, engine = service
    asked: list[str] = []

    def write_down(_: str, path: str) -> Fault:
        asked.append(path)
        return Fault.NONE

    with faulty_proxy(server.url, write_down) as proxy:
        yield Running(proxy, workspace, engine, asked)


@pytest.fixture
def studio(
    running: Running,
    label_studio: LabelStudioServer,
    document_root: Path,
    request: pytest.FixtureRequest,
) -> Iterator[exchange.Studio]:
    """A project of the test's own, about the images on the service's staged."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    own = replace(running.workspace, root=document_root / f"backend-{name}")
    own.root.mkdir()
    with exchange.connect(label_studio.url, label_studio.api_key) as connected:
        number = connected.project(own)
        connected.client.import_storage.local.create(
            project=number, path=str(running.workspace.staged / "images"), use_blob_urls=True
        )
        yield connected


def image(number: int | str) -> str:
    return f"backend-service/staged/images/{number}.png"


def batch_of(numbers: Any, *, model: str | None, round_id: str = "round-0001") -> pd.DataFrame:
    """A batch whose confidence falls with the number."""
    rows = [
        {
            "sample_id": hashlib.sha256(png(n)).hexdigest(),
            "file": image(n),
            "pre_annotation": model and "eel",
            "confidence": 0.9 - n / 1000 if model else None,
            "pre_annotation_model": model,
            "round_id": round_id,
        }
        for n in numbers
    ]
    return outgoing(rows)


def add(studio: exchange.Studio, *addresses: str, **more: Any) -> list[int]:
    """Tasks as somebody else might import them."""
    tasks = [{"data": {"image": address}, **more} for address in addresses]
    sent = studio.client.projects.import_tasks(
        studio.project_id, request=tasks, return_task_ids=True
    )
    return list(sent.task_ids)


def on_desk(number: int | str) -> str:
    return f"/data/local-files/?d={image(number)}"


def get(server: LabelStudioServer, path: str) -> Any:
    token = {"Authorization": f"Token {server.api_key}"}
    response = httpx.get(f"{server.url}{path}", headers=token, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def guesses(studio: exchange.Studio, task: int) -> list[tuple[str, float, list[str]]]:
    """What Label Studio has stored for a task: model, score, chosen classes."""
    found = studio.client.predictions.list(task=task)
    return [
        (one.model_version, one.score, [c for part in one.result for c in part["value"]["choices"]])
        for one in found
    ]


def serve_all(studio: exchange.Studio, server: LabelStudioServer, count: int) -> list[str]:
    """The images of the next `count` tasks, each answered."""
    served = []
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    for _ in range(count):
        task = get(server, f"/api/projects/{studio.project_id}/next")
        served.append(Path(task["data"]["image"]).stem)
        result = [{**chosen, "value": {"choices": ["cat"]}}]
        studio.client.annotations.create(id=task["id"], result=result, lead_time=1.0)
    return served


def test_the_labelling_screen_shows_the_services_guess_for_a_task_that_came_without(
    running: Running,
    studio: exchange.Studio,
    label_studio: LabelStudioServer,
    browser: "Browser",
) -> None:
    sign_up(label_studio, PERSON)
    answers = {number: running.answer(number) for number in (7, 8)}
    connect_backend(studio, running.backend, SECRET, model=running.model)
    expected = dict(zip(add(studio, *map(on_desk, answers)), answers.values(), strict=True))
    with annotating(browser, label_studio, studio.project_id, PERSON) as ben:
        first = ben.task()
        assert ben.preselected() == [expected[first]["label"]]
        ben.submit()  # takes the guess as it is
        second = ben.task()
        assert ben.preselected() == [expected[second]["label"]]
    assert {first, second} == set(expected)
    for task, answer in expected.items():
        [(model, score, chosen)] = guesses(studio, task)
        assert (model, chosen) == (running.model, [answer["label"]])
        assert score == pytest.approx(answer["confidence"], abs=1e-5)
    [given] = studio.client.annotations.list(id=first)
    assert given.result[0]["value"]["choices"] == [expected[first]["label"]]
    assert running.nothing_recorded()


def test_many_tasks_are_asked_for_at_once_and_answered_in_order(
    running: Running, studio: exchange.Studio
) -> None:
    expected = [running.answer(number) for number in range(40)]
    connect_backend(studio, running.backend, SECRET, model=running.model)
    tasks = add(studio, *map(on_desk, range(40)))
    studio.client.actions.create(
        id="retrieve_tasks_predictions",
        project=studio.project_id,
        selected_items={"all": True, "excluded": []},
    )
    assert running.predicts() == 1
    for task, answer in zip(tasks, expected, strict=True):
        [(model, score, chosen)] = guesses(studio, task)
        assert (model, chosen) == (answer["model"], [answer["label"]])
        assert score == pytest.approx(answer["confidence"], abs=1e-4)
    assert running.nothing_recorded()


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server nobody should call, and the calls it got."""
    calls: list[str] = []

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cat.png", calls
    server.shutdown()
    server.server_close()


def test_an_image_that_may_not_be_read_has_no_guess_and_holds_up_nobody(
    running: Running, studio: exchange.Studio, label_studio: LabelStudioServer
) -> None:
    connect_backend(studio, running.backend, SECRET, model=running.model)
    before = running.status()["label_studio"]["without_pre_annotation"]
    with canary() as (address, calls):
        foreign = ["backend-service/hone.sqlite", "backend-service/staged/../hone.toml"]
        refused = add(
            studio, address, "s3://bucket/cat.png", *(f"/data/local-files/?d={f}" for f in foreign)
        )
        [good] = add(studio, on_desk(3))
        studio.client.actions.create(
            id="retrieve_tasks_predictions",
            project=studio.project_id,
            selected_items={"all": True, "excluded": []},
        )
        for task in refused:
            assert get(label_studio, f"/api/tasks/{task}")["predictions"] == []
        assert calls == []
    assert [guesses(studio, task) for task in refused] == [[]] * len(refused)
    assert len(guesses(studio, good)) == 1
    counted = running.status()["label_studio"]["without_pre_annotation"]["NOT_STAGED"]
    assert counted == before.get("NOT_STAGED", 0) + 2 * len(refused)


def test_connecting_again_changes_the_one_backend_there_is(
    running: Running, studio: exchange.Studio
) -> None:
    studio.assign(batch_of([1, 2], model="m1"))
    first = connect_backend(studio, running.backend, SECRET, model="m1")
    assert connect_backend(studio, f"{running.backend}/", SECRET, model="m1") == first
    studio.assign(batch_of([3, 4], model="m2", round_id="round-0002"))
    assert connect_backend(studio, running.backend, SECRET, model="m2") == first
    [found] = studio.client.ml.list(project=studio.project_id)
    assert (found.id, found.title, found.model_version, found.state) == (first, "m2", "m2", "CO")
    assert studio.client.projects.get(studio.project_id).model_version == "m2"
    hooks = studio.client.webhooks.list(project=studio.project_id)
    assert not [hook for hook in hooks if hook.url.startswith(running.url)]


def test_the_queue_stays_sorted_by_the_round_when_the_champion_changes(
    running: Running, studio: exchange.Studio, label_studio: LabelStudioServer
) -> None:
    first = running.model
    studio.assign(batch_of([3, 1, 4, 2], model=first))
    connect_backend(studio, running.backend, SECRET, model=first)
    assert serve_all(studio, label_studio, 1) == ["4"]
    second = running.next_champion(seed=3)
    assert serve_all(studio, label_studio, 2) == ["3", "2"]
    assert studio.client.projects.get(studio.project_id).model_version == first
    assert running.predicts() == 0  # the round's tasks have the guesses they were sent with
    studio.assign(batch_of([12, 14, 11, 13], model=second, round_id="round-0002"))
    connect_backend(studio, running.backend, SECRET, model=second)
    assert studio.client.projects.get(studio.project_id).model_version == second
    assert serve_all(studio, label_studio, 4) == ["14", "13", "12", "11"]
    assert running.predicts() == 0


def test_a_blind_task_stays_blind_whichever_model_stands(
    running: Running, studio: exchange.Studio, label_studio: LabelStudioServer
) -> None:
    def shown() -> list[Any]:
        found = get(label_studio, f"/api/projects/{studio.project_id}/next")
        assert found["id"] == task
        return [guess["result"] for guess in found["predictions"]]

    blind = {"model_version": "m0", "score": 0.4, "result": []}
    [task] = add(studio, on_desk(5), predictions=[blind])
    connect_backend(studio, running.backend, SECRET, model="m0")
    assert (shown(), running.predicts()) == ([[]], 0)
    connect_backend(studio, running.backend, SECRET, model=running.model)
    studio.client.projects.update(studio.project_id, model_version=running.model)
    assert (shown(), running.predicts()) == ([[]], 1)
    assert [chosen for _, _, chosen in guesses(studio, task)] == [[], []]


def test_a_service_that_went_away_holds_up_nobody(
    running: Running, studio: exchange.Studio, label_studio: LabelStudioServer
) -> None:
    with faulty_proxy(running.url, lambda *_: Fault.NONE) as going:
        connect_backend(studio, f"{going}/label-studio", SECRET, model=running.model)
    [task] = add(studio, on_desk(1))
    assert get(label_studio, f"/api/projects/{studio.project_id}/next")["id"] == task
    assert get(label_studio, f"/api/tasks/{task}")["predictions"] == []


def test_a_wrong_password_is_refused_with_the_remedy(
    running: Running, studio: exchange.Studio
) -> None:
    with pytest.raises(ValueError, match="does not know this HONE_BACKEND_SECRET") as error:
        connect_backend(studio, running.backend, "open-parsley", model=running.model)
    assert "open-parsley" not in str(error.value)
    assert studio.client.ml.list(project=studio.project_id) == []
    with pytest.raises(ConnectionError, match="start `bentoml serve` with HONE_BACKEND_SECRET"):
        connect_backend(studio, f"{running.url}/elsewhere", SECRET, model=running.model)


def test_an_address_that_nothing_answers_or_none_may_call_is_one_sentence(
    studio: exchange.Studio,
) -> None:
    dead = f"http://127.0.0.1:{servers.free_port()}/label-studio"
    with pytest.raises(ConnectionError, match="does not get through to the service at"):
        connect_backend(studio, dead, SECRET, model="m1")
    with pytest.raises(ValueError, match="LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS="):
        connect_backend(studio, "http://10.0.0.1:3000/label-studio", SECRET, model="m1")
