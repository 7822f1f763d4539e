"""The numbers of the service: each request, image and answer is counted once, under few names."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from core.http_access import BearerGuard
from core.workspace import Workspace
from models.serving import metrics, service
from models.serving.metrics import CountRequests, ShownModel, count_answers, endpoint_of, exposition
from models.serving.segments import Served
from tests.models.saved_models import CLASSES, make_workspace, png, put_in_service, save
from tests.source_code import ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


def numbers(text: bytes | None = None) -> Numbers:
    """All samples by name and labels."""
    families = text_string_to_metric_families((text or exposition()).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


class Rise:
    """How much a sample has risen since this object was made."""

    def __init__(self) -> None:
        self._before = numbers()

    def of(self, name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return numbers().get(key, 0) - self._before.get(key, 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Engine]:
    workspace, engine = make_workspace(tmp_path_factory.mktemp("metrics") / "workspace")
    put_in_service(engine, save(workspace, engine))
    return workspace, engine


@pytest.fixture
def client(
    place: tuple[Workspace, Engine], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The service with the middleware that counts around it, as `bentoml serve` has it."""
    monkeypatch.setenv("HONE_WORKSPACE", str(place[0].root))
    hone = service.Hone()
    guard: dict[str, Any] = {"name": "TOKEN", "token": lambda: "secret", "open_below": "/none/"}
    around = [Middleware(CountRequests), Middleware(BearerGuard, **guard)]
    app = Starlette(routes=[Mount("/", service.app)], middleware=around)
    with TestClient(app, headers={"Authorization": "Bearer secret"}) as client:
        yield client
    hone.end()


def send(client: TestClient, *images: bytes, **headers: str) -> int:
    files = [("images", (f"{number}.png", image)) for number, image in enumerate(images)]
    return client.post("/predict", files=files, headers=headers).status_code


def test_answers_are_counted_by_class_and_refused_images_by_reason(client: TestClient) -> None:
    rise = Rise()
    assert send(client, png(1), b"no image", png(2)) == 200
    assert rise.of("hone_images_total", outcome="answered") == 2
    assert rise.of("hone_images_total", outcome="NOT_AN_IMAGE") == 1
    assert sum(rise.of("hone_answers_total", label=name) for name in CLASSES) == 2
    assert rise.of("hone_confidence_count") == 2
    assert rise.of("hone_recorded_bytes_total") == len(png(1)) + len(png(2))
    assert rise.of("hone_predict_seconds_count") == 1
    assert rise.of("hone_predict_in_progress") == 0
    assert rise.of("hone_requests_total", endpoint="predict", status="200", reason="OK") == 1


def test_a_repeated_request_counts_its_images_once(client: TestClient) -> None:
    rise = Rise()
    assert [send(client, png(3), **{"X-Request-ID": "again"}) for _ in range(2)] == [200, 200]
    assert rise.of("hone_images_total", outcome="answered") == 1
    assert rise.of("hone_requests_total", endpoint="predict", status="200", reason="OK") == 2


def test_truths_are_counted_when_they_are_on_disk(client: TestClient) -> None:
    rise = Rise()
    truth = {"prediction_id": "7" * 32, "truth": "cat", "who": "ada"}
    rows = [{**truth, "strength": "weak"}, {**truth, "strength": "sure"}]
    assert client.post("/feedback", json=rows).status_code == 200
    assert rise.of("hone_feedback_total", strength="weak") == 1
    refused = [key for key in numbers() if key[0] == "hone_feedback_refused_total"]
    assert sum(rise.of(name, **dict(labels)) for name, labels in refused) == 1
    assert rise.of("hone_requests_total", endpoint="feedback", status="200", reason="OK") == 1


def test_a_refused_request_is_counted_with_its_reason(client: TestClient) -> None:
    rise = Rise()
    assert client.post("/predict", json={}).status_code == 415
    assert send(client, png(), Authorization="Bearer wrong") == 401
    assert client.get("/no/such/path").status_code == 404
    expected = {
        ("predict", "415", "NOT_A_FORM"),
        ("predict", "401", "UNAUTHORIZED"),
        ("other", "404", "NOT_FOUND"),
    }
    for endpoint, status, why in expected:
        assert rise.of("hone_requests_total", endpoint=endpoint, status=status, reason=why) == 1, (
            why
        )


def test_the_endpoint_answers_in_the_format_of_prometheus(client: TestClient) -> None:
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert ("hone_workers", frozenset()) in numbers(response.content)


def test_the_model_that_answers_is_named_with_its_release(client: TestClient) -> None:
    version = client.get("/status").json()["model"]
    found = numbers(client.get("/metrics").content)
    assert found["hone_model_info", frozenset({("model", version)})] == 1
    assert found["hone_release", frozenset()] == 1
    assert found["hone_release_problem", frozenset()] == 0


def test_a_model_that_is_replaced_is_named_no_longer_and_a_problem_is_shown() -> None:
    shown = ShownModel()
    shown.show("one", 1, None)
    shown.show("two", 2, "release 3 is not served")
    found = numbers()
    models = {
        model: found["hone_model_info", frozenset({("model", model)})] for model in ("one", "two")
    }
    assert models == {"one": 0, "two": 1}
    assert found["hone_release_problem", frozenset()] == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/predict", "predict"), ("/predict/", "predict"), ("/livez", "health"),
        ("/label-studio/predict", "label-studio"), ("/metrics", "metrics"),
        ("/predictions/0f", "predictions"),
        ("/", "other"), ("/predict/7", "other"), ("/%00", "other"),
    ],
)  # fmt: skip
def test_paths_have_few_names(path: str, name: str) -> None:
    assert endpoint_of(path) == name


def test_classes_beyond_the_first_are_counted_together() -> None:
    classes = [f"class {number}" for number in range(metrics.LABELS + 5)]
    rise = Rise()
    count_answers([(_served(name), b"image") for name in classes], classes)
    assert rise.of("hone_answers_total", label="class 0") == 1
    assert rise.of("hone_answers_total", label="other") == 5
    assert rise.of("hone_answers_total", label=classes[-1]) == 0


WORKER = """
import os, sys
from models.serving import metrics
metrics.ShownModel().show("model", 1, None)
metrics._answering.inc()
metrics._images.labels("answered").inc(3)
print(metrics.exposition().decode(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_numbers_of_killed_workers_are_counted_and_what_was_true_of_them_is_not(
    tmp_path: Path,
) -> None:
    """Each in a process of its own; the second reads what the first left when it was killed."""
    (tmp_path / "bentoml").mkdir()
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HONE_METRICS": str(tmp_path / "ours"),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "bentoml"),  # set by BentoML for its workers
    }  # fmt: skip
    read = [
        numbers(
            subprocess.run(
                [sys.executable, "-c", WORKER], env=environment, capture_output=True, check=False
            ).stdout
        )
        for _ in range(2)
    ]
    answered = "hone_images_total", frozenset({("outcome", "answered")})
    assert [one[answered] for one in read] == [3, 6]
    assert [one["hone_predict_in_progress", frozenset()] for one in read] == [1, 1]
    assert [one["hone_workers", frozenset()] for one in read] == [1, 1]
    started = {one["hone_started_seconds", frozenset()] for one in read}
    assert len(started) == 1  # of the service, not of a worker
    assert not list((tmp_path / "bentoml").iterdir())


def _served(label: str) -> Served:
    return Served(
        prediction_id="p", request_id="r", model="m", sample_id="s", label=label, confidence=0.5,
        probabilities=[], needs_review=True, served_at="2026-01-01T00:00:00Z",
    )  # fmt: skip
