"""What Prometheus reads from the service: requests, images, answers and the model that gives them.

Each worker writes its numbers to files of its own, and a scrape of any worker adds up the files of
all, with the fold of those that died: no counter falls while the service runs, and the files do not
grow in number. No label holds what a client sent.
"""

import asyncio
import collections
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from core.http_access import HEALTH, App, Message, Receive, Send
from models.serving.bodies import Scope
from models.serving.feedback_records import Feedback, Strength
from models.serving.metric_files import fold_dead, service_files, started_at
from models.serving.requests import reason_of
from models.serving.segments import Served

FOLDER = "HONE_METRICS"  # of this service's numbers; set for the workers by what starts them
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # BentoML's folder: any other service may empty it at its start
LABELS = 50  # classes that are counted by name; answers of the others are counted together
OTHER = "other"
ENDPOINTS = ("/predict", "/feedback", "/status", "/metrics")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)

_started_at = time.time()
if own := os.environ.get(FOLDER):  # before the first metric, which opens its file there
    Path(own).mkdir(parents=True, exist_ok=True)
    os.environ[SHARED] = own
    fold_dead(Path(own))  # nobody may scrape: the files are bounded all the same
    _started_at = started_at(Path(own))

registry = CollectorRegistry()
_requests = Counter(
    "hone_requests", "Requests by endpoint, status and reason.", ["endpoint", "status", "reason"],
    registry=registry,
)  # fmt: skip
_seconds = Histogram(
    "hone_predict_seconds", "From the complete request to its answer.", buckets=SECONDS,
    registry=registry,
)  # fmt: skip
_endpoint_seconds = Histogram(
    "hone_request_seconds", "From the complete request to its answer, by endpoint.", ["endpoint"],
    buckets=SECONDS, registry=registry,
)  # fmt: skip
_answering = Gauge(
    "hone_predict_in_progress", "Complete requests that are not answered yet.",
    multiprocess_mode="livesum", registry=registry,
)  # fmt: skip
_images = Counter(
    "hone_images", "Images by outcome: answered, or why not.", ["outcome"], registry=registry
)
_shadow = Counter(
    "hone_shadow_images", "What a challenger did with images that the champion answered.",
    ["outcome"], registry=registry,
)  # fmt: skip
_labels = Counter("hone_answers", "Answers by their class.", ["label"], registry=registry)
_confidence = Histogram(
    "hone_confidence", "Confidence of the answers.", buckets=SHARES, registry=registry
)
_needs_review = Counter(
    "hone_needs_review", "Answers that were marked for a person.", registry=registry
)
_cascade = Counter(
    "hone_cascade", "Answers while a front model is set, by who gave them.", ["by"],
    registry=registry,
)  # fmt: skip
_lookups = Counter(
    "hone_answer_cache", "Images that were looked up in the cache of answers.", ["outcome"],
    registry=registry,
)  # fmt: skip
_bytes = Counter(
    "hone_recorded_bytes", "Bytes of images that were recorded before the answer.",
    registry=registry,
)  # fmt: skip
_truths = Counter(
    "hone_feedback", "Truths that were recorded, by how sure they are.", ["strength"],
    registry=registry,
)  # fmt: skip
_refused_truths = Counter(
    "hone_feedback_refused", "Truths that were not taken, by reason.", ["reason"],
    registry=registry,
)  # fmt: skip
_model = Gauge(
    "hone_model_info", "1 for the model that answers, 0 for those that did.", ["model"],
    multiprocess_mode="livemax", registry=registry,
)  # fmt: skip
_release = Gauge(
    "hone_release", "The release that answers; 0 outside of a workspace.",
    multiprocess_mode="livemin", registry=registry,
)  # fmt: skip
_problem = Gauge(
    "hone_release_problem", "1 while the newest release cannot be served, or looked up.",
    multiprocess_mode="livemax", registry=registry,
)  # fmt: skip
_workers = Gauge(
    "hone_workers", "Processes that answer.", multiprocess_mode="livesum", registry=registry
)
_started = Gauge(
    "hone_started_seconds", "When the service started, as a Unix time; not its workers.",
    multiprocess_mode="livemin", registry=registry,
)  # fmt: skip
_started.set(_started_at)
_canary_failures = Counter(
    "hone_canary_failures", "Requests that a canary failed at, and the champion answered.",
    registry=registry,
)  # fmt: skip
_front_failures = Counter(
    "hone_front_failures", "Images that a front model failed at, and the champion answered.",
    registry=registry,
)  # fmt: skip
for _outcome in ("200", "503"):  # a counter that begins at 1 shows no rise
    _requests.labels("predict", _outcome, HTTPStatus(int(_outcome)).name)
_answered = _images.labels("answered")
for _outcome in ("hit", "miss"):
    _lookups.labels(_outcome)
for _strength in Strength:
    _truths.labels(str(_strength))


# Kept, for the library builds the key of each anew; there are as few as endpoints and reasons.
_counter_of = lru_cache(1024)(_requests.labels)
_seconds_of = lru_cache(64)(_endpoint_seconds.labels)


class CountRequests:
    """ASGI middleware around all others: each answer is counted once, with its reason."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what it is answered with."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reason = reason_of(scope)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = int(message["status"])
                why = reason[-1] if reason else HTTPStatus(status).name
                _counter_of(endpoint_of(str(scope["path"])), str(status), why).inc()
            await send(message)

        await self._app(scope, receive, counted)


class TimeAnswers:
    """ASGI middleware inside of what waits for bodies: a slow client is no slow service."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, and record how long it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = endpoint_of(str(scope["path"]))
        is_predict = endpoint == "predict"
        began = time.monotonic()
        _answering.inc(is_predict)
        try:
            await self._app(scope, receive, send)
        finally:
            _answering.dec(is_predict)
            seconds = time.monotonic() - began
            _seconds_of(endpoint).observe(seconds)
            if is_predict:
                _seconds.observe(seconds)


def endpoint_of(path: str) -> str:
    """The name of the part of the service that a path is of; one of a few."""
    if path in HEALTH:
        return "health"
    if path.startswith("/label-studio/"):
        return "label-studio"
    if path.startswith("/predictions/"):
        return "predictions"
    plain = path.rstrip("/")
    return plain[1:] if plain in ENDPOINTS else OTHER


def count_answers(records: Sequence[tuple[Served, bytes]], classes: Sequence[str]) -> None:
    """Count predictions that were recorded; each is counted once, however often it is sent."""
    if not records:
        return
    named = set(classes[:LABELS])
    labels = (served.label if served.label in named else OTHER for served, _ in records)
    for label, count in collections.Counter(labels).items():
        _labels.labels(label).inc(count)
    for served, _ in records:
        _confidence.observe(served.confidence)
    _answered.inc(len(records))
    _needs_review.inc(sum(served.needs_review for served, _ in records))
    _bytes.inc(sum(len(image) for _, image in records))


def count_cascade(records: Iterable[tuple[Served, bytes]], front: str) -> None:
    """Count who gave recorded answers: the model in front, or the champion."""
    for served, _ in records:
        _cascade.labels("front" if served.model == front else "champion").inc()


def count_lookup(*, hit: bool) -> None:
    """Count an image whose answer was in the cache, or was not."""
    _lookups.labels("hit" if hit else "miss").inc()


def count_refused(answers: Iterable[Mapping[str, Any]]) -> None:
    """Count those of the answers that are a reason why an image has none."""
    for answer in answers:
        if "error" in answer:
            _images.labels(answer["error"]["reason"]).inc()


def count_shadow(outcome: str, images: int) -> None:
    """Count images of a trial: answered, failed, passed over, or answered differently."""
    _shadow.labels(outcome).inc(images)


def count_canary_failure() -> None:
    """Count a request that a canary failed at."""
    _canary_failures.inc()


def count_front_failures(images: int) -> None:
    """Count images that a front model failed at."""
    _front_failures.inc(images)


def count_feedback(recorded: Iterable[Feedback], reasons: Iterable[str]) -> None:
    """Count truths that are on disk, and the reasons for which others are not."""
    for one in recorded:
        _truths.labels(one.strength).inc()
    for reason in reasons:
        _refused_truths.labels(reason).inc()


class ShownModel:
    """What the metrics of this worker say about the model that answers."""

    def __init__(self) -> None:
        self._version: str | None = None

    def show(self, version: str | None, release: int | None, problem: str | None) -> None:
        """Replace what is shown."""
        _workers.set(1)
        _release.set(release or 0)
        _problem.set(problem is not None)
        if version != self._version:
            if self._version is not None:
                _model.labels(self._version).set(0)
            self._version = version
        if version is not None:
            _model.labels(version).set(1)


async def metrics(request: Request) -> Response:
    """The numbers of all workers, in the text format of Prometheus."""
    text = await asyncio.to_thread(exposition)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def exposition() -> bytes:
    """The numbers of all workers of this service."""
    folder = os.environ.get(SHARED)
    if folder is None:
        return generate_latest(registry)
    every_worker = CollectorRegistry()
    every_worker.register(_EveryWorker(Path(folder)))
    return generate_latest(every_worker)


class _EveryWorker:
    """Collects the numbers of all workers, living and dead."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        with service_files(self._folder) as files:
            merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        yield from merged
