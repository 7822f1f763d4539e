"""Images in, recorded predictions out: waiting requests share a forward pass and an fsync."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from core.database import now
from models.registry.model_card import ModelCard
from models.registry.model_store import LoadedModel
from models.registry.releases import Mode
from models.scoring.predict import Predictions, predict
from models.serving import metrics
from models.serving.answer_cache import AnswerCache, Computed
from models.serving.cascade import Answering, answering, maker_of
from models.serving.decoders import (
    REQUEST_PIXELS,
    Answer,
    Decoders,
    Picture,
    Waiting,
    add_statistics,
    commit,
    fail,
)
from models.serving.load import Load
from models.serving.release_follower import ActiveModel
from models.serving.requests import NOBODY, Sender
from models.serving.segments import (
    DIGITS,
    SegmentWriter,
    Served,
    half_precision,
    prediction_id,
)
from models.serving.shadow import Shadow, trial_of
from models.serving.traffic_split import request_key

AT_ONCE = 64  # images of one forward pass; further waiting images go into the next one
HELP_SECONDS = 0.02  # that one thread is at work while others wait, until another helps it

logger = logging.getLogger("hone.service")


class Unavailable(RuntimeError):
    """No prediction can be made, or none can be recorded, at the moment."""


class Inference:
    """Answers requests on its own threads; served predictions are recorded before they return."""

    def __init__(
        self,
        active: Callable[[], ActiveModel],
        writer: SegmentWriter,
        *,
        needs_review_below: float,
        threads: int,
        request_pixels: int = REQUEST_PIXELS,
        cache: AnswerCache | None = None,
    ) -> None:
        self.cache = cache or AnswerCache(0)
        self._active = active
        self._writer = writer
        self._needs_review_below = needs_review_below
        self._threads = threads
        self._load = Load()
        self.shadow = Shadow(
            writer.folder, self._predict, self._load, needs_review_below=needs_review_below
        )
        self._decoded: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._beside = ThreadPoolExecutor(1, "hone-measure")  # ends with this object
        self._decoders = Decoders(self._take, request_pixels=request_pixels)
        self._busy_since: float | None = None  # the thread that answers
        self.front_failure: tuple[str, str] | None = None  # whose, and what; until one answers
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()  # for help; False ends it
        self._is_called = False
        self._ended = threading.Event()
        for work, name in ((self._answer_all, "hone-answer"), (self._help, "hone-help")):
            threading.Thread(target=work, name=name, daemon=True).start()

    def ask(
        self,
        request_id: str,
        images: Sequence[bytes],
        *,
        recorded: bool = True,
        known: Mapping[int, Answer] | None = None,
        sender: Sender = NOBODY,
    ) -> "Future[list[Answer]]":
        """One answer for each image, in order; a bad image has an `error` and affects no other.

        The future raises `Unavailable` when there is no model or recording fails, and
        `RequestError` for more pixels than a request may have. Once it is cancelled no further
        image is decoded and nothing is recorded; while it is recorded it cannot be cancelled.
        Only pre-annotations go unrecorded: they are no traffic, and their images were checked when
        they were ingested. `known` are answers, by position, that were recorded before. A canary
        answers by the key of `sender`, or else by the images.
        """
        active, key = self._active(), None
        if recorded and active.mode == Mode.CANARY:
            key = sender.key or request_key(images)
        request = Waiting(request_id, images, recorded, known or {}, sender.source, key)
        self._load.begin()
        request.answers.add_done_callback(lambda _: self._load.end())
        self._start(request, active)
        return request.answers

    def close(self) -> None:
        """Answer the waiting requests, then end the threads."""
        self._decoders.close()
        self._decoded.put(None)
        self._ended.set()
        self._calls.put(False)
        self.shadow.close()

    def _start(self, request: Waiting, active: ActiveModel) -> None:
        by = answering(active, request)
        if by is None:
            fail(request, Unavailable(active.problem or "no model is loaded"))
        else:
            look_up = by.looks_up(request, self.cache)
            self._decoders.decode(request, by.model.card.image_size, look_up)

    def _take(self, request: Waiting) -> None:
        """Queue a request to be answered.

        One thread answers: all that came meanwhile share its next forward pass and fsync. A second
        one helps it where that takes long, so that one waits for the disk while the other computes.
        """
        self._decoded.put(request)
        if self._busy_since is not None:
            self._call()

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._calls.put(True)

    def _answer_all(self) -> None:
        while (requests := self._next(self._decoded.get())) is not None:
            self._busy_since = time.monotonic()
            self._work_on(requests)
            self._busy_since = None

    def _help(self) -> None:
        while self._calls.get():
            while not (self._decoded.empty() or self._ended.is_set()):
                began = self._busy_since or time.monotonic()
                left = began + HELP_SECONDS - time.monotonic()
                if left > 0:
                    self._ended.wait(left)
                    continue
                with suppress(queue.Empty):
                    requests = self._next(self._decoded.get_nowait())
                    self._work_on(requests or [])
            self._is_called = False
            if not (self._decoded.empty() or self._ended.is_set()):
                self._call()  # for what came in this moment

    def _work_on(self, requests: list[Waiting]) -> None:
        active, groups = self._active(), dict[Any, tuple[Answering, list[Waiting]]]()
        for request in filter(self._decoders.is_decoded, requests):
            by = answering(active, request)
            if by and by.may_answer(request):
                groups.setdefault(by.name, (by, []))[1].append(request)
            else:  # it was decoded, or looked up, for a model that was just replaced
                self._start(request, active)
        for by, current in groups.values():
            self._respond(by, current)

    def _respond(self, by: Answering, requests: list[Waiting]) -> None:
        try:
            self._answer(by, [one for one in requests if not one.answers.cancelled()])
        except Exception as error:  # reported to each caller; the thread goes on
            if len(requests) > 1:
                for request in requests:  # one by one: a single request may be the cause
                    self._respond(by, [request])
                return
            if not isinstance(error, Unavailable):
                self._count_failure(by.model, requests[0])
                if self._by_champion(by.model, requests[0], error):
                    return
            logger.warning("request %s is not answered: %s", requests[0].request_id, error)
            known = isinstance(error, Unavailable)
            reported = error if known else Unavailable(f"the model could not answer: {error}")
            fail(requests[0], reported)

    def _by_champion(self, model: LoadedModel, request: Waiting, error: Exception) -> bool:
        """Let the champion answer what its canary failed at; whether it does."""
        active = self._active()
        if active.model is None or active.model.version == model.version:
            return False
        logger.warning("%s failed, and the champion answers: %s", model.version, error)
        metrics.count_canary_failure()
        request.key = None
        self._start(request, active)
        return True

    def _count_failure(self, model: LoadedModel, request: Waiting) -> None:
        trial = trial_of(self._active(), model)
        if trial is not None and request.recorded:
            self.shadow.failed(trial, model, len(request.images))

    def _next(self, first: Waiting | None) -> list[Waiting] | None:
        """The waiting requests that fit into one forward pass, oldest first; None at the end."""
        if first is None:
            self._decoded.put(None)  # for the other thread, and behind what came last
            first = self._decoded.get()
            if first is None:
                self._decoded.put(None)
                return None
        requests, images = [first], len(first.images)
        while images < AT_ONCE:
            try:
                more = self._decoded.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._decoded.put(None)
                break
            requests.append(more)
            images += len(more.images)
        return requests

    def _answer(self, by: Answering, requests: list[Waiting]) -> None:
        pictures = [picture for one in requests for picture in one.pictures]
        results = iter(self._computed(by, [one for one in pictures if one.pixels is not None]))
        recorded: list[tuple[Served, Picture]] = []
        answered: list[tuple[Waiting, list[Answer]]] = []
        for request in requests:
            predictions, answers = list[tuple[Served, Picture]](), list[Answer]()
            for position, picture in enumerate(request.pictures):
                if picture.answer:
                    answers.append(picture.answer)
                    continue
                computed = picture.computed or next(results)
                model = by.model_of(computed)
                served = self._served(model, request, position, picture, computed)
                predictions.append((served, picture))
                answers.append(client_json(vars(served), model.card))
            if commit(request):
                answered.append((request, answers))
                recorded += predictions if request.recorded else []
        records = [(served, picture.received) for served, picture in recorded]
        self._record(records)
        metrics.count_answers(records, by.model.card.classes)
        if by.front is not None:
            metrics.count_cascade(records, by.front.version)
        for request, answers in answered:
            metrics.count_refused(answers if request.recorded else ())
            request.answers.set_result(answers)
        if (trial := trial_of(self._active(), by.model)) is not None:
            mine = [one for one in recorded if one[0].model == by.model.version]  # not its front's
            self.shadow.answered(
                trial, by.model, [(one, picture.pixels, picture.received) for one, picture in mine]
            )

    def _computed(self, by: Answering, pictures: list[Picture]) -> list[Computed]:
        """What the models make of the pictures, in their order: the champion of what is left."""
        if by.front is None or not pictures:
            return self._computed_by(by.model, pictures)
        try:
            first = self._computed_by(by.front, pictures)
            is_sure = by.is_sure(np.stack([one.output for one in first]))
        except Exception as error:  # the champion can answer without it
            problem = f"{by.front.version} failed, the champion answers: {error}"
            logger.warning(problem)
            self.front_failure = by.front.version, problem
            metrics.count_front_failures(len(pictures))
            return self._computed_by(by.model, pictures)
        self.front_failure = None
        left = [picture for picture, sure in zip(pictures, is_sure, strict=True) if not sure]
        rest = iter(self._computed_by(by.model, left))
        return [one if sure else next(rest) for one, sure in zip(first, is_sure, strict=True)]

    def _computed_by(self, model: LoadedModel, pictures: list[Picture]) -> list[Computed]:
        """What one model makes of the pictures; stored for later requests, too.

        Their statistics are computed meanwhile: one forward pass leaves the interpreter to others.
        """
        if not pictures:  # each answer is known
            return []
        maker, made = maker_of(model), list[Computed]()
        measuring = self._beside.submit(add_statistics, pictures)
        rows = self._predict(model, [one.pixels for one in pictures if one.pixels is not None])
        measuring.result()
        is_lasting = maker == maker_of(model)  # its runtime may change while it answers
        for picture, output, embedding in zip(pictures, rows.outputs, rows.embeddings, strict=True):
            # copied, so that no stored answer holds the whole batch
            one = Computed(maker, output.copy(), half_precision(embedding), picture.statistics)
            # without statistics, of an unrecorded request, it is half an answer
            if is_lasting and one.statistics is not None:
                self.cache.put(picture.sample_id, one)
            made.append(one)
        return made

    def _predict(self, model: LoadedModel, pixels: Sequence[torch.Tensor]) -> Predictions:
        images = pixels[0][None].contiguous() if len(pixels) == 1 else torch.stack([*pixels])
        if model.runtime is not None:
            return model.runtime.predict(images)
        return predict(model.network, images, threads=self._threads, name=model.version)

    def _record(self, records: list[tuple[Served, bytes]]) -> None:
        try:
            if records:
                self._writer.append(records)
        except OSError as error:
            raise Unavailable(f"the prediction could not be recorded ({error})") from error

    def _served(
        self,
        model: LoadedModel,
        request: Waiting,
        position: int,
        picture: Picture,
        computed: Computed,
    ) -> Served:
        [answer] = model.card.label_kind.answers(computed.output[None], model.card.classes)
        confidence = round(answer.confidence, DIGITS)
        abstains = self._active().halt is not None
        return Served(
            prediction_id=prediction_id(
                request.request_id, position, picture.sample_id, model.version
            ),
            request_id=request.request_id,
            model=model.version,
            sample_id=picture.sample_id,
            label=answer.label,
            confidence=confidence,
            probabilities=[round(value, DIGITS) for value in computed.output.tolist()],
            needs_review=abstains or confidence < self._needs_review_below,
            served_at=now(),
            embedding=computed.embedding,
            statistics=computed.statistics,
            source=request.source,
        )


def client_json(served: Mapping[str, Any], card: ModelCard) -> Answer:
    """The JSON of a prediction as the client gets it, from the fields of `Served`."""
    names = ("prediction_id", "sample_id", "model", "needs_review")
    return {
        **{name: served[name] for name in names},
        **card.label_kind.served(served["probabilities"], card.classes),
    }
