"""What may go wrong between us and Label Studio: every sample out once, every answer back."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event

import httpx
import pandas as pd
import pytest

from core.hone_toml import LabelClass
from core.workspace import Workspace
from labeling.studio import client as exchange
from tasks.demo import servers
from tasks.demo.servers import LabelStudioServer
from tests.labeling.studio.outgoing import outgoing
from tests.system.annotators import PASSWORD, personal_access_token, sign_up
from tests.system.faulty_proxy import Fault, faulty_proxy

pytestmark = pytest.mark.system

CLASSES = (LabelClass("cat", "1"), LabelClass("dog", "2"))
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
IMPORTS, OTHERS = 0.5, 0.12  # share of them that is spoiled


class Weather:
    """Spoils requests of every kind at random, imports more often, and counts."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.met: Counter[tuple[str, str]] = Counter()

    def __call__(self, method: str, path: str) -> Fault:
        """What happens to this request."""
        kind = "import" if "/import?" in path else method
        bad = self.rng.random() < (IMPORTS if kind == "import" else OTHERS)
        fault = self.rng.choice(FAULTS) if bad else Fault.NONE
        self.met[kind, fault.name] += 1
        return fault


class Holding:
    """Holds the first request back whose path has a word, until it is let go."""

    def __init__(self, word: str) -> None:
        self.word, self.go, self.held = word, Event(), False

    def __call__(self, method: str, path: str) -> Fault:
        """Come back late for that one."""
        if self.word in path and not self.held:
            self.held = True
            self.go.wait(60)
        return Fault.NONE


@pytest.fixture
def workspace(document_root, request) -> Workspace:
    root = document_root / hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    root.mkdir()
    return Workspace(root, "Exchange", "Nothing lost", CLASSES, image_size=32)


@pytest.fixture
def studio(label_studio: LabelStudioServer, workspace: Workspace) -> Iterator[exchange.Studio]:
    """The workspace's project, reached past every proxy."""
    with exchange.connect(label_studio.url, label_studio.api_key) as connected:
        connected.project(workspace)
        yield connected


@pytest.fixture(scope="module")
def tokens(label_studio: LabelStudioServer) -> dict[str, str]:
    """A token of each kind."""
    sign_up(label_studio, "exchange@example.com")
    somebody = replace(label_studio, username="exchange@example.com", password=PASSWORD)
    return {"legacy": label_studio.api_key, "personal": personal_access_token(somebody)}


def sample(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def batch_of(count: int, round_id: str = "round-0001") -> pd.DataFrame:
    rows = [
        {
            "sample_id": sample(number),
            "file": f"images/{number}.png",
            "confidence": 0.5 + number / 2 / count,
        }
        for number in range(count)
    ]
    return outgoing(rows, pre_annotation="cat", pre_annotation_model="m1", round_id=round_id)


def push(url: str, api_key: str, workspace: Workspace, batch: pd.DataFrame) -> dict[str, int]:
    """What a flow does to put a batch before the annotators."""
    with exchange.connect(url, api_key) as studio:
        studio.project(workspace)
        return studio.assign(batch)


def pushed(url: str, api_key: str, workspace: Workspace, batch: pd.DataFrame) -> tuple[int, dict]:
    """Push again as long as it is worth another try, as the flow's retries do; count them."""
    for reruns in range(500):
        try:
            return reruns, push(url, api_key, workspace, batch)
        except ConnectionError as error:
            assert "try again" in str(error) or "nothing answers" in str(error)
    raise AssertionError("it never got through")


def stored(studio: exchange.Studio) -> dict[int, str]:
    """Every task of the project and its sample, as the server has them."""
    asked = {"project": studio.project_id, "page_size": 10_000, "fields": "all"}
    tasks = studio.client.tasks.list(**asked, include="id,data")
    return {task.id: task.data["sample_id"] for task in tasks}


@pytest.mark.parametrize(("seed", "kind"), [(1, "legacy"), (2, "personal"), (3, "legacy")])
def test_two_thousand_samples_are_two_thousand_tasks_in_any_weather(
    label_studio, workspace, tokens, monkeypatch, seed, kind
):
    weather, batch = Weather(seed), batch_of(2000)
    with monkeypatch.context() as patch, faulty_proxy(label_studio.url, weather) as proxy:
        patch.setattr(exchange, "SECONDS", 2.0)
        patch.setattr(exchange, "BATCH", 250)
        reruns, sent = pushed(proxy, tokens[kind], workspace, batch)
    print(f"seed {seed}: {reruns} reruns; {dict(sorted(weather.met.items()))}")
    assert sorted(sent) == sorted(batch["sample_id"])
    with exchange.connect(label_studio.url, label_studio.api_key) as studio:
        studio.project(workspace)
        before = len(stored(studio))
        studio.answers_since(None)  # what came in after the push had ended goes away with the pull
        tasks = stored(studio)
        found = studio.client.projects.get(studio.project_id)
    print(f"seed {seed}: {before} tasks before the pull")
    assert sorted(tasks.values()) == sorted(batch["sample_id"])
    assert {sample_id: task for task, sample_id in tasks.items()} == sent
    assert (found.model_version, found.total_predictions_number) == ("m1", 2000)


@pytest.mark.parametrize("look_up", ["assign", "collect"])
def test_an_import_that_ends_after_the_push_has_is_tidied_by_the_next_look_up(
    label_studio, workspace, studio, monkeypatch, look_up
):
    holding, batch = Holding("/import?"), batch_of(40)
    with faulty_proxy(label_studio.url, holding) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(exchange, "SECONDS", 2.0)
            sent = push(proxy, label_studio.api_key, workspace, batch)
        watermark = studio.answers_since(None).watermark
        assert len(stored(studio)) == 40
        holding.go.set()
    assert len(stored(studio)) == 80, "the import came in twice, the second time unasked"
    copy = next(task for task, one in stored(studio).items() if one == sample(7) and
                task != sent[sample(7)])  # fmt: skip
    chosen = {"from_name": "label", "to_name": "image", "type": "choices"}
    answer = [{**chosen, "value": {"choices": ["dog"]}}]
    studio.client.annotations.create(id=copy, result=answer)

    if look_up == "assign":
        assert studio.assign(batch) == sent | {sample(7): copy}
    found = studio.answers_since(watermark)
    assert found.answers["sample_id"].tolist() == [sample(7)]
    assert stored(studio) == {task: one for one, task in (sent | {sample(7): copy}).items()}


def test_a_deletion_that_comes_late_leaves_the_tasks_alone_that_got_the_ids(
    label_studio, workspace, studio, monkeypatch
):
    first = studio.assign(batch_of(30))
    holding, second = Holding("delete_tasks"), batch_of(30, "round-0002")
    with faulty_proxy(label_studio.url, holding) as proxy:
        with monkeypatch.context() as patch, pytest.raises(ConnectionError, match="too long"):
            patch.setattr(exchange, "SECONDS", 2.0)
            push(proxy, label_studio.api_key, workspace, second)
        sent = studio.assign(second)
        assert set(first.values()) & set(sent.values()), "the server gave the ids again"
        holding.go.set()
    assert stored(studio) == {task: one for one, task in sent.items()}


def test_a_project_deleted_in_the_middle_of_a_push_is_one_sentence_with_the_remedy(
    label_studio, workspace, studio, monkeypatch
):
    monkeypatch.setattr(exchange, "BATCH", 10)
    imports: list[str] = []

    def somebody_deletes_it(method: str, path: str) -> Fault:
        if "/import?" in path:
            imports.append(path)
        if "/import?" in path and len(imports) == 2:
            studio.client.projects.delete(studio.project_id)
        return Fault.NONE

    remedy = r"somebody deleted it; if that is meant, remove label-studio.json"
    with (
        faulty_proxy(label_studio.url, somebody_deletes_it) as proxy,
        pytest.raises(ValueError, match=remedy),
    ):
        push(proxy, label_studio.api_key, workspace, batch_of(30))


def test_a_project_deleted_in_the_middle_of_a_pull_is_the_same_sentence(label_studio, workspace):
    with (
        pytest.raises(ValueError, match=r"somebody deleted it; if that is meant, remove"),
        exchange.connect(label_studio.url, label_studio.api_key) as studio,
    ):
        studio.project(workspace)
        studio.client.projects.delete(studio.project_id)
        studio.answers_since(None)


def test_whoever_comes_before_a_new_server_is_ready_is_told_to_wait(
    studio_command, tmp_path, monkeypatch, tokens
):
    port, up = servers.free_port(), Event()
    monkeypatch.setattr(servers, "free_port", lambda: port)

    def come_often() -> Counter[str]:
        refusals: Counter[str] = Counter()
        while not up.wait(0.5):  # a visit takes processor time that the server needs for its start
            for api_key in tokens.values():
                refusals[refusal(f"http://127.0.0.1:{port}", api_key)] += 1
        return refusals

    with ThreadPoolExecutor(1) as visitors:
        refusals = visitors.submit(come_often)
        try:
            with servers.label_studio(studio_command, tmp_path / "new", tmp_path / "root"):
                pass
        finally:
            up.set()
    assert refusals.result().total() > 10
    early = [words for words in refusals.result() if "does not accept" not in words]
    assert all(words.startswith("ConnectionError") and "wait" in words for words in early)


def test_a_server_whose_database_is_not_migrated_yet_is_waited_for(
    studio_command, tmp_path, tokens
):
    """As behind a gateway or a WSGI server, which answer before `label-studio start` has run."""
    [manage] = studio_command.resolve().parents[1].rglob("site-packages/label_studio/manage.py")
    server = servers.Server(f"http://127.0.0.1:{servers.free_port()}", tmp_path / "log")
    words = [manage, "runserver", "--noreload", server.url.removeprefix("http://")]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "state"),
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "DJANGO_DB": "sqlite",
        "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
    }

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{server.url}/health").status_code == 500
        return False

    with servers.running(
        [studio_command.parent / "python", *words],
        server=server,
        environment=environment,
        ready=answers,
    ):
        for api_key in tokens.values():
            sentence = refusal(server.url, api_key)
            assert sentence.startswith("ConnectionError")
            assert "failed with status 500" in sentence
            assert "wait if it is still starting or migrating" in sentence


def refusal(url: str, api_key: str) -> str:
    """What somebody is told who is not let in."""
    try:
        with exchange.connect(url, api_key):
            return "welcome"
    except (ValueError, ConnectionError) as error:
        return f"{type(error).__name__}: {error}"
