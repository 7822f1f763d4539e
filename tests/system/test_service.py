"""The service as its users run it: `bentoml serve`, in the repository and as a bento elsewhere."""

import asyncio
import hashlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import bentoml
import httpx
import psutil
import pytest
from bentoml.exceptions import BentoMLException
from PIL import Image
from sqlalchemy import Engine

from benchmarks.load import switches
from core.database import connect, upgrade
from core.journal_checks import rows_are_as_journaled
from core.workspace import Workspace
from models.registry.bento import package
from models.registry.model_store import load_model
from models.registry.releases import Superseded, current_release, release_rows
from models.serving.endpoints import ENDPOINTS
from models.serving.prediction_store import (
    drain,
    find_prediction,
    read_served_image,
    window,
)
from models.serving.segments import SegmentWriter
from tasks.demo import servers
from tests.models.registry.named_models import by_hand, challenge, go_back
from tests.models.saved_models import (
    CLASSES,
    judge,
    make_workspace,
    png,
    put_in_service,
    release,
    save,
)
from tests.models.serving.test_prediction_store import served
from tests.test_images import lint

pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parents[2]
TWO_WORKERS = {"HONE_WORKERS": "2"}
CHANGES = 6  # of what is served; benchmarks/release_switches.py makes a hundred


@dataclass(frozen=True)
class Running:
    """A server, the workspace it serves from, and that workspace's database."""

    url: str
    workspace: Workspace
    engine: Engine


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Engine]:
    workspace, engine = make_workspace(tmp_path_factory.mktemp("service") / "workspace")
    put_in_service(engine, save(workspace, engine))
    return workspace, engine


@pytest.fixture(scope="module")
def running(
    place: tuple[Workspace, Engine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """`bentoml serve` of the repository, two workers."""
    environment = {"HONE_WORKSPACE": str(place[0].root), **TWO_WORKERS}
    with servers.bentoml(REPOSITORY, tmp_path_factory.mktemp("serve"), environment) as server:
        yield Running(server.url, *place)


def send(url: str, *images: bytes, request_id: str | None = None) -> httpx.Response:
    files = [("images", (f"{number}.png", image)) for number, image in enumerate(images)]
    headers = {"X-Request-ID": request_id} if request_id else {}
    return httpx.post(f"{url}/predict", files=files, headers=headers, timeout=60)


def status(url: str) -> dict[str, Any]:
    return dict(httpx.get(f"{url}/status", timeout=60).json())


def test_one_image_and_several_are_answered_and_recorded(running: Running) -> None:
    one, several = send(running.url, png(1)), send(running.url, png(2), png(3), png(4))
    assert (one.status_code, several.status_code) == (200, 200)
    answers = one.json()["predictions"] + several.json()["predictions"]
    for answer in answers * 3:  # by either worker, and before the drain
        shown = httpx.get(f"{running.url}/predictions/{answer['prediction_id']}", timeout=60)
        assert (shown.status_code, shown.json()["label"]) == (200, answer["label"])
    drain(running.engine, running.workspace.traffic)
    for number, answer in enumerate(answers, start=1):
        row = find_prediction(running.engine, answer["prediction_id"])
        assert row is not None
        assert read_served_image(running.workspace.traffic, row) == png(number)
        assert row.label == answer["label"]


def test_bentomls_clients_know_the_endpoints(running: Running, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    with bentoml.SyncHTTPClient(running.url) as client:
        given = [tmp_path / "1.png", Image.open(tmp_path / "2.png")]
        answered = client.predict(images=given)
        assert [one["label"] in CLASSES for one in answered["predictions"]] == [True, True]
        prediction = answered["predictions"][1]["prediction_id"]
        assert client.feedback(prediction_id=prediction, truth=CLASSES[0])["recorded"] == 1
        assert client.status()["model"] == status(running.url)["model"]
        with pytest.raises(BentoMLException, match="NOT_A_FORM"):
            client.predict(images=["http://127.0.0.1:9/cat.png"])

    async def ask() -> Any:
        async with bentoml.AsyncHTTPClient(running.url) as client:
            return await client.predict(images=[str(tmp_path / "2.png")])

    with ThreadPoolExecutor() as thread:  # a browser's driver may have a loop in this one
        again = thread.submit(asyncio.run, ask()).result()
    assert again["predictions"][0]["label"] == answered["predictions"][1]["label"]
    drain(running.engine, running.workspace.traffic)
    row = find_prediction(running.engine, prediction)
    assert row is not None and read_served_image(running.workspace.traffic, row) == png(2)


def test_the_page_shows_every_endpoint_and_its_example(running: Running, browser: Any) -> None:
    page = browser.new_page()
    page.goto(running.url)
    page.wait_for_selector(".opblock", timeout=60_000)
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    assert shown == [endpoint.path for endpoint in ENDPOINTS]
    page.click("#operations-default-post_predict .opblock-summary")
    page.wait_for_selector("text=prediction_id")
    page.close()


def test_a_bad_image_spoils_no_other(running: Running) -> None:
    found = send(running.url, png(1), b"no image", png(2)).json()["predictions"]
    assert [one.get("label") in CLASSES for one in found] == [True, False, True]
    assert found[1]["error"]["reason"] == "NOT_AN_IMAGE"


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server nobody should call, and the calls it got."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cat.png", calls
    server.shutdown()
    server.server_close()


def test_an_address_is_refused_and_not_fetched(running: Running) -> None:
    url = f"{running.url}/predict"
    with canary() as (address, calls):
        assert httpx.get(address).status_code == 200
        texts = [
            httpx.post(url, files=[("images", (None, address))]),
            httpx.post(url, files=[("images", (None, address)), ("images", ("a.png", png()))]),
            httpx.post(url, files=[("images", (address, address.encode()))]),
            httpx.post(url, data={"images": address}),
            httpx.post(url, json={"images": [address]}),
        ]
    assert [response.status_code for response in texts] == [400, 400, 400, 415, 415]
    assert calls == ["/cat.png"]


def test_a_path_with_a_slash_is_not_redirected(running: Running) -> None:
    files = {"images": ("a.png", png())}
    assert httpx.post(f"{running.url}/predict/", files=files).status_code == 200


def test_a_worker_killed_under_load_loses_no_answer(running: Running) -> None:
    """Each answer that arrived is one record, with the bytes that were sent under its id."""
    acknowledged: dict[str, tuple[dict[str, Any], bytes]] = {}
    ended, lost = threading.Event(), []

    def load(client: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            image, request_id = png(client * 100_000 + number), f"load-{client}-{number}"
            try:
                response = send(running.url, image, request_id=request_id)
            except httpx.TransportError:
                lost.append((request_id, image))
                continue
            if response.status_code == 200:
                acknowledged[request_id] = response.json()["predictions"][0], image

    threads = [threading.Thread(target=load, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    killed = set()
    for enough in (40, 120):  # the second kill hits the worker that was left, or its successor
        while len(acknowledged) < enough:
            time.sleep(0.01)
        killed.add(worker := status(running.url)["worker"])
        os.kill(worker, signal.SIGKILL)
    while len(acknowledged) < 200:
        time.sleep(0.01)
    ended.set()
    for thread in threads:
        thread.join()
    for request_id, image in lost:  # a client that heard nothing asks again, under the same id
        retried = send(running.url, image, request_id=request_id)
        assert retried.status_code == 200
        acknowledged[request_id] = retried.json()["predictions"][0], image
    assert status(running.url)["worker"] not in killed
    drain(running.engine, running.workspace.traffic)
    rows = window(running.engine, limit=100_000)
    assert not rows["prediction_id"].duplicated().any()
    assert not rows[rows["request_id"].str.startswith("load-")]["request_id"].duplicated().any()
    for request_id, (answer, image) in acknowledged.items():
        row = find_prediction(running.engine, answer["prediction_id"])
        assert row is not None, request_id
        assert row.sample_id == hashlib.sha256(image).hexdigest() == answer["sample_id"]
        assert row.label == answer["label"]
        assert row.confidence == pytest.approx(answer["confidence"], abs=1e-4)
        assert read_served_image(running.workspace.traffic, row) == image


def test_a_new_champion_is_served_without_a_restart(running: Running) -> None:
    before = status(running.url)
    newer = save(running.workspace, running.engine, seed=7)
    number = put_in_service(running.engine, newer)
    seen: dict[int, str] = {}
    while set(seen.values()) != {newer} or len(seen) < 2:  # both workers
        found = status(running.url)
        seen[found["worker"]] = found["model"]
        time.sleep(0.05)
    assert (before["release"], found["release"]) == (number - 1, number)
    [answer] = send(running.url, png(1)).json()["predictions"]
    assert answer["model"] == newer


def test_changes_under_load_are_followed_by_both_workers_and_fail_no_request(
    running: Running,
) -> None:
    """Followed within two seconds, of which a busy machine may take more once."""
    current = current_release(running.engine)
    assert current is not None
    other = save(running.workspace, running.engine, seed=11)
    following = switches.changes(running.engine, current.champion, other)
    switches.seconds_to_follow(running.url, current.number)  # both workers are there
    images = [png(number) for number in range(40)]
    with switches.clients(running.url, images) as traffic:
        seconds = [
            switches.seconds_to_follow(running.url, next(following)()) for _ in range(CHANGES)
        ]
    assert traffic.failed == []
    assert traffic.models == {current.champion, other}
    assert statistics.median(seconds) < 2
    assert switches.seconds_to_halt(running.engine, running.url, images) < 5
    assert send(running.url, png(1)).status_code == 200  # it answers again


def test_workers_end_when_their_supervisor_is_killed(
    place: tuple[Workspace, Engine], tmp_path: Path
) -> None:
    """Else they would go on answering on the port, beside those of the next `bentoml serve`."""
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    words = ["serve", str(REPOSITORY), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "bentoml.log").open("wb") as log:
        supervisor = psutil.Popen(
            [sys.executable, "-m", "bentoml", *words],
            env={**os.environ, "HONE_WORKSPACE": str(place[0].root), **TWO_WORKERS},
            stdout=log,
            stderr=log,
        )
    started: list[psutil.Process] = []
    try:
        while not is_ready(url):
            assert supervisor.poll() is None, (tmp_path / "bentoml.log").read_text()
            time.sleep(0.1)
        assert send(url, png(1)).status_code == 200
        started = supervisor.children(recursive=True)
        assert status(url)["worker"] in [process.pid for process in started]
        supervisor.kill()
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
        assert not is_ready(url)
    finally:
        for process in [supervisor, *started]:
            if process.is_running():
                process.kill()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


CONTAINERIZE = """
import pathlib, shutil, sys, bentoml
from bentoml._internal.container import construct_containerfile
with construct_containerfile(bentoml.get(sys.argv[1])) as (folder, dockerfile):
    assert pathlib.Path(dockerfile) == pathlib.Path(folder) / "env/docker/Dockerfile"
    shutil.copytree(folder, sys.argv[2])
"""


def image_folder(workspace: Workspace, tag: str, folder: Path) -> Path:
    """What `bentoml containerize`, called in /, gives Docker to build an image of."""
    made = folder / "image"
    subprocess.run(
        [sys.executable, "-c", CONTAINERIZE, tag, str(made)],
        env={**os.environ, "BENTOML_HOME": str(workspace.bento_home)}, cwd="/", check=True,
    )  # fmt: skip
    dockerfile = made / "env" / "docker" / "Dockerfile"
    template = REPOSITORY / "models" / "serving" / "Dockerfile.bento"
    assert dockerfile.read_text().strip() == template.read_text().strip()
    assert lint(dockerfile) == ""
    installed = (made / "env" / "python" / "requirements.txt").read_text()
    assert "torch==" in installed and "onnxruntime==1.23.0" in installed
    assert (made / "models" / tag.replace(":", "/")).is_dir()
    return made


def test_a_bento_serves_its_model_from_another_folder(
    place: tuple[Workspace, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, engine = place
    monkeypatch.chdir(tmp_path)
    current = current_release(engine)
    assert current is not None
    tag = package(workspace, current.champion, {"onnxruntime": "1.23.0"})
    assert package(workspace, current.champion) == tag
    assert not list(workspace.bento_home.glob(".build-*"))
    image = image_folder(workspace, tag, tmp_path)
    environment = {"BENTOML_HOME": str(tmp_path), "HONE_TRAFFIC": str(tmp_path / "own")}
    with servers.bentoml(image, tmp_path, environment) as server:
        found = status(server.url)
        assert (found["model"], found["release"]) == (current.champion, None)
        expected = load_model(engine, workspace.bento_home, current.champion).sha256
        assert found["digest"] == expected
        [answer] = send(server.url, png(5)).json()["predictions"]
    assert answer["label"] in CLASSES
    assert drain(engine, tmp_path / "own") == 1
    row = find_prediction(engine, answer["prediction_id"])
    assert read_served_image(tmp_path / "own", row) == png(5)


def test_a_bento_of_a_workspace_follows_its_releases(
    place: tuple[Workspace, Engine], tmp_path: Path
) -> None:
    workspace, engine = place
    current = current_release(engine)
    assert current is not None
    tag = package(workspace, current.champion)
    newer = save(workspace, engine, seed=8)
    put_in_service(engine, newer)
    homes = {"BENTOML_HOME": str(workspace.bento_home), "HONE_WORKSPACE": str(workspace.root)}
    with servers.bentoml(tag, tmp_path, homes) as server:
        assert status(server.url)["model"] == newer


def test_the_registry_and_the_prediction_store_work_on_postgresql(
    postgres: str, tmp_path: Path
) -> None:
    workspace, _ = make_workspace(tmp_path / "workspace")
    engine = connect(postgres)
    upgrade(engine)
    first, second = save(workspace, engine, seed=1), save(workspace, engine, seed=2)
    assert load_model(engine, workspace.bento_home, second).version == second
    verdict = judge(engine, second)
    assert put_in_service(engine, first) == 1
    with pytest.raises(Superseded):
        release(engine, version=second, verdict_id=verdict, who="hone", why="late", expected=0)
    assert challenge(engine, second, 10, evidence={"agreement": 0.98}) == 2
    assert by_hand(engine, second) == 3
    assert go_back(engine, to=first, who="Bob") == 4
    with engine.connect() as connection:
        rows = release_rows(connection)
    assert [(one.action, one.champion, one.challenger, one.share) for one in rows] == [
        ("release", first, None, 0), ("canary", first, second, 10),
        ("release", second, None, 0), ("rollback", first, None, 0),
    ]  # fmt: skip
    assert rows[1].evidence == {"agreement": 0.98}
    assert [*rows_are_as_journaled(engine, workspace)] == []
    writer = SegmentWriter(workspace.traffic)
    for number in range(5):
        writer.append([(served(number, b"x"), b"x")])
    writer.close()
    ready, added = threading.Barrier(3), []

    def work() -> None:
        ready.wait()
        added.append(drain(engine, workspace.traffic))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [0, 0, 5]
    assert list(window(engine)["seq"]) == [1, 2, 3, 4, 5]
    assert find_prediction(engine, "prediction-3") is not None
