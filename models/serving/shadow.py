"""The challenger of a trial answers what the champion answered, and nobody waits for it.

Its answers are recorded and never shown. Its thread begins an image only when no request waits, one
at a time while requests come, and rests in proportion. It runs at ordinary priority: the system may
leave a thread of a low one standing while it holds the interpreter's lock, and all others with it.
The queue is bounded; images that find no place in it are counted as passed over.
"""

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from core.database import now
from core.images import decode_inspected, inspect_image
from core.text import storable
from models.network.images import prepare
from models.registry.model_store import LoadedModel
from models.runtimes.served import ServedRuntime
from models.scoring.predict import Predictions
from models.serving.load import Load
from models.serving.metrics import count_shadow
from models.serving.release_follower import ActiveModel
from models.serving.segments import DIGITS, SegmentWriter, Served
from models.serving.shadow_records import (
    ERROR_LENGTH,
    FOLDER,
    MOST_ANSWERS,
    Live,
    ShadowAnswer,
    ShadowRecord,
    record_of,
)

WAITING_IMAGES = 256  # in the queue; further ones are passed over
WAITING_BYTES = 64 * 2**20  # of their pixels
QUIET_SECONDS = 0.25  # without a request, after which several images are done at once
AT_ONCE = 16  # images, while it is quiet
REST = 100  # times an image's seconds, while requests come: so few of them meet it at work
RECORD_SECONDS = 2.0  # between two records, at most, and the time of the images in between
TIMING_SECONDS = 10.0  # between two comparisons of the times that both models take
COUNTED = ("answered", "failed", "passed_over", "disagreements")

logger = logging.getLogger("hone.service")

Predict = Callable[[LoadedModel, Sequence[torch.Tensor]], Predictions]


@dataclass(frozen=True)
class Trial:
    """The two models of a trial, and the release that began its present step."""

    release: int
    champion: LoadedModel
    challenger: LoadedModel


def trial_of(active: ActiveModel, answered_by: LoadedModel) -> Trial | None:
    """The trial in which a model answered a request; None without one, or of another model."""
    champion, challenger = active.model, active.challenger
    if champion is None or challenger is None or active.release is None:
        return None
    takes_part = answered_by.version in (champion.version, challenger.version)
    return Trial(active.release, champion, challenger) if takes_part else None


@dataclass(frozen=True)
class _Image:
    trial: Trial
    served: Served
    pixels: torch.Tensor | None  # as the champion had them
    received: bytes  # where the challenger needs another size

    def of(self, trial: Trial) -> bool:
        return self.trial.release == trial.release

    @property
    def size(self) -> int:
        return len(self.received) if self.pixels is None else self.pixels.numel()


@dataclass
class _Unrecorded:
    """What happened in a trial since the last record."""

    trial: Trial
    began: float = field(default_factory=time.monotonic)
    passed_over: int = 0
    live: dict[str, Live] = field(default_factory=dict)
    timings: list[tuple[float, float]] = field(default_factory=list)
    answers: list[ShadowAnswer] = field(default_factory=list)

    def record(self) -> ShadowRecord:
        champion, challenger = self.trial.champion.version, self.trial.challenger.version
        return ShadowRecord(
            record_id=uuid.uuid4().hex,
            release=self.trial.release,
            champion=champion,
            challenger=challenger,
            at=now(),
            passed_over=self.passed_over,
            champion_live=self.live.get(champion, Live()),
            challenger_live=self.live.get(challenger, Live()),
            timings=tuple(self.timings),
            answers=tuple(self.answers),
        )


class Shadow:
    """Asks the challenger of a trial, on a thread of its own, until `close`."""

    def __init__(
        self, traffic: Path, predict: Predict, load: Load, *, needs_review_below: float
    ) -> None:
        self._writer = SegmentWriter(traffic / FOLDER)
        self._predict = predict
        self._load = load
        self._needs_review_below = needs_review_below
        self._changed = threading.Condition()
        self._queue: deque[_Image] = deque()
        self._bytes = 0
        self._unrecorded: _Unrecorded | None = None
        self._ended = threading.Event()
        self._timed_at = 0.0
        self._counts = dict.fromkeys(COUNTED, 0)
        self._challenger: str | None = None  # that the counts are of
        self._thread: threading.Thread | None = None

    def answered(
        self,
        trial: Trial,
        model: LoadedModel,
        pairs: Sequence[tuple[Served, torch.Tensor | None, bytes]],
    ) -> None:
        """Take what `model` answered to clients: served, its pixels, the bytes received.

        The challenger is asked about what the champion answered, where the queue has a place.
        """
        with self._changed:
            self._start()
            self._count_live(trial, model, Live(answered=len(pairs)))
            if model.version != trial.champion.version:
                return
            alike = trial.champion.card.image_size == trial.challenger.card.image_size
            for number, (served, pixels, received) in enumerate(pairs):
                ready = pixels if alike else None  # none of an answer out of the cache, either
                image = _Image(trial, served, ready, received if ready is None else b"")
                if not self._has_place(image):
                    self._pass_over(trial, len(pairs) - number)
                    break
                self._queue.append(image)
                self._bytes += image.size
            self._changed.notify_all()

    def failed(self, trial: Trial, model: LoadedModel, images: int) -> None:
        """Count images that a model could not answer to clients."""
        with self._changed:
            self._start()
            self._count_live(trial, model, Live(failed=images))

    def status(self) -> dict[str, Any]:
        """How much of the traffic this worker's challenger has answered."""
        with self._changed:
            waiting = len(self._queue)
            counts = dict(self._counts)
        asked = counts["answered"] + counts["failed"]
        offered = asked + counts["passed_over"]
        return {
            **counts,
            "waiting": waiting,
            "share": round(asked / offered, 4) if offered else None,
        }

    def close(self) -> None:
        """Record what is known, and end the thread; what waits is passed over."""
        self._ended.set()
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=10)
        with self._changed:
            while self._queue:
                self._pass_over(self._queue.popleft().trial, 1)
        self._record()
        self._writer.close()

    def _has_place(self, image: _Image) -> bool:
        return len(self._queue) < WAITING_IMAGES and self._bytes + image.size <= WAITING_BYTES

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hone-shadow", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._ended.is_set():
            images = self._next()
            try:
                if images:
                    self._ask(images)
                if self._is_due():
                    self._record()
            except Exception:  # a trial that cannot be looked at must not end the service
                logger.exception("the challenger of a trial could not be asked")

    def _next(self) -> list[_Image]:
        """The next images of one trial, once no request waits; none after a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended.is_set(), self._until_due())
        if not self._queue or not self._load.wait_for_none(self._until_due()):
            return []
        most = AT_ONCE if self._load.quiet_seconds() >= QUIET_SECONDS else 1
        with self._changed:
            images = [self._queue.popleft()]
            while self._queue and len(images) < most and self._queue[0].of(images[0].trial):
                images.append(self._queue.popleft())
            self._bytes -= sum(image.size for image in images)
        return images

    def _ask(self, images: list[_Image]) -> None:
        trial, began = images[0].trial, time.monotonic()
        ready = self._ready(images)
        if not ready:
            return
        answers = self._answers(trial, ready)
        with self._changed:
            unrecorded = self._of(trial)
            unrecorded.answers += answers
            failed = sum(one.label is None for one in answers)
            differ = sum(one.label not in (None, one.served_label) for one in answers)
            self._count("answered", len(answers) - failed)
            self._count("failed", failed)
            self._count("disagreements", differ)
        if not answers[-1].error and time.monotonic() - self._timed_at >= TIMING_SECONDS:
            self._time_both(ready[-1][0])
        if self._load.quiet_seconds() < QUIET_SECONDS:
            self._rest(REST * (time.monotonic() - began))

    def _rest(self, seconds: float) -> None:
        """Wait, but for what is to be recorded meanwhile."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and not self._ended.is_set():
            self._ended.wait(min(left, self._until_due()))
            if self._is_due():
                self._record()

    def _ready(self, images: list[_Image]) -> list[tuple[_Image, torch.Tensor]]:
        """The images with their pixels; one that cannot be read again is no fault of the model."""
        ready = []
        for image in images:
            try:
                ready.append((image, _pixels(image)))
            except Exception as error:
                logger.warning("an image is left out of the shadow: %s", error)
                with self._changed:
                    self._pass_over(image.trial, 1)
        return ready

    def _answers(
        self, trial: Trial, images: list[tuple[_Image, torch.Tensor]]
    ) -> list[ShadowAnswer]:
        try:
            outputs = self._predict(trial.challenger, [pixels for _, pixels in images]).outputs
        except Exception as error:
            if len(images) > 1:  # one by one: a single image may be the cause
                return [one for image in images for one in self._answers(trial, [image])]
            return [_failure(images[0][0].served, error)]
        card = trial.challenger.card
        given = card.label_kind.answers(outputs, card.classes)
        return [
            self._answer(image.served, one.label, round(float(one.confidence), DIGITS))
            for (image, _), one in zip(images, given, strict=True)
        ]

    def _answer(self, served: Served, label: str, confidence: float) -> ShadowAnswer:
        review = confidence < self._needs_review_below
        return replace(_failure(served, None), label=label, confidence=confidence,
                       needs_review=review, error=None)  # fmt: skip

    def _time_both(self, image: _Image) -> None:
        """Compare the times of both models on one image, in either order by chance.

        Not while a runtime is still chosen for either. One that failed since is answered by torch
        for good, and timed so: that is what clients get.
        """
        trial = image.trial
        if not (_is_settled(trial.champion) and _is_settled(trial.challenger)):
            return
        seconds = {}
        sizes = {trial.champion.version: image.pixels, trial.challenger.version: _pixels(image)}
        for model in random.sample([trial.champion, trial.challenger], 2):
            pixels = sizes[model.version]
            if pixels is None:  # the two take images of different sizes
                pixels = _scaled(image.received, model.card.image_size)
            began = time.perf_counter()
            self._predict(model, [pixels])
            seconds[model.version] = time.perf_counter() - began
        self._timed_at = time.monotonic()
        pair = (seconds[trial.champion.version], seconds[trial.challenger.version])
        with self._changed:
            self._of(trial).timings.append(pair)

    def _count_live(self, trial: Trial, model: LoadedModel, more: Live) -> None:
        live = self._of(trial).live
        before = live.get(model.version, Live())
        live[model.version] = Live(before.answered + more.answered, before.failed + more.failed)

    def _pass_over(self, trial: Trial, images: int) -> None:
        self._of(trial).passed_over += images
        self._count("passed_over", images)

    def _count(self, name: str, images: int) -> None:
        self._counts[name] += images
        count_shadow(name, images)

    def _of(self, trial: Trial) -> _Unrecorded:
        """What is not recorded yet of this trial; that of another one is recorded first."""
        if self._unrecorded is None or self._unrecorded.trial.release != trial.release:
            if self._unrecorded is not None:
                self._write(self._unrecorded)
            if self._challenger != trial.challenger.version:
                self._counts = dict.fromkeys(COUNTED, 0)
                self._challenger = trial.challenger.version
            self._unrecorded = _Unrecorded(trial)
        return self._unrecorded

    def _is_due(self) -> bool:
        with self._changed:
            unrecorded = self._unrecorded
            if unrecorded is None:
                return False
            age = time.monotonic() - unrecorded.began
            return len(unrecorded.answers) >= MOST_ANSWERS - AT_ONCE or age >= RECORD_SECONDS

    def _until_due(self) -> float:
        """Seconds until a record is due; half of RECORD_SECONDS at most, as more may come."""
        with self._changed:
            began = self._unrecorded.began if self._unrecorded else time.monotonic()
        return min(max(0.0, began + RECORD_SECONDS - time.monotonic()), RECORD_SECONDS / 2)

    def _record(self) -> None:
        with self._changed:
            unrecorded, self._unrecorded = self._unrecorded, None
        if unrecorded is not None:
            self._write(unrecorded)

    def _write(self, unrecorded: _Unrecorded) -> None:
        try:
            self._writer.append_parts([(record_of(unrecorded.record()), b"")])
        except OSError as error:  # a loss of evidence, which never speaks against a challenger
            logger.warning("what the challenger answered could not be recorded: %s", error)


def _is_settled(model: LoadedModel) -> bool:
    """Whether the model answers in the runtime that it keeps."""
    runtime = model.runtime
    return not isinstance(runtime, ServedRuntime) or runtime.settled


def _failure(served: Served, error: Exception | None) -> ShadowAnswer:
    return ShadowAnswer(
        prediction_id=served.prediction_id,
        sample_id=served.sample_id,
        source=served.source,
        served_at=served.served_at,
        served_label=served.label,
        served_review=served.needs_review,
        label=None,
        confidence=None,
        needs_review=None,
        error=storable(f"{type(error).__name__}: {error}")[:ERROR_LENGTH],
    )


def _pixels(image: _Image) -> torch.Tensor:
    """The image as the challenger takes it."""
    if image.pixels is not None:
        return image.pixels
    return _scaled(image.received, image.trial.challenger.card.image_size)


def _scaled(received: bytes, size: int) -> torch.Tensor:
    return prepare(decode_inspected(inspect_image(received)), size)
