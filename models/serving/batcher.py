"""Images in, recorded predictions out: waiting requests share a forward pass and an fsync."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from core.database import now
from core.images import ImageRefused, clean_image, decode_image
from models.network.images import prepare
from models.registry.model_card import ModelCard
from models.registry.model_store import LoadedModel
from models.scoring.predict import Predictions, predict
from models.serving.release_follower import ActiveModel
from models.serving.segments import (
    DIGITS,
    SegmentWriter,
    Served,
    half_precision,
    prediction_id,
)

AT_ONCE = 64  # images of one forward pass; further waiting images go into the next one
LOOPS = 2  # one decodes images or waits for the disk while the other computes

logger = logging.getLogger("hone.service")

Answer = dict[str, Any]


class Unavailable(RuntimeError):
    """No prediction can be made, or none can be recorded, at the moment."""


@dataclass(frozen=True)
class _Request:
    request_id: str
    images: Sequence[bytes]
    recorded: bool = True
    known: Mapping[int, Answer] = field(default_factory=dict)
    answers: "Future[list[Answer]]" = field(default_factory=Future)


@dataclass(frozen=True)
class _Picture:
    """One image of a request: pixels for the network, or an answer that needs none."""

    received: bytes
    sample_id: str
    pixels: torch.Tensor | None
    answer: Answer | None = None


class Inference:
    """Answers requests on its own threads; served predictions are recorded before they return."""

    def __init__(
        self,
        active: Callable[[], ActiveModel],
        writer: SegmentWriter,
        *,
        needs_review_below: float,
        threads: int,
    ) -> None:
        self._active = active
        self._writer = writer
        self._needs_review_below = needs_review_below
        self._threads = threads
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        for number in range(LOOPS):
            threading.Thread(target=self._work, name=f"hone-loop-{number}", daemon=True).start()

    def ask(
        self,
        request_id: str,
        images: Sequence[bytes],
        *,
        recorded: bool = True,
        known: Mapping[int, Answer] | None = None,
    ) -> "Future[list[Answer]]":
        """One answer for each image, in order; a bad image has an `error` and affects no other.

        The future raises `Unavailable` when there is no model or recording fails. Only
        pre-annotations go unrecorded: they are no traffic. `known` are answers, by position, that
        were recorded before.
        """
        request = _Request(request_id, images, recorded, known or {})
        self._waiting.put(request)
        return request.answers

    def close(self) -> None:
        """Answer the waiting requests, then end the threads."""
        for _ in range(LOOPS):
            self._waiting.put(None)

    def _work(self) -> None:
        while (requests := self._next()) is not None:
            self._respond(requests)

    def _respond(self, requests: list[_Request]) -> None:
        try:
            for request, answers in zip(requests, self._answer(requests), strict=True):
                request.answers.set_result(answers)
        except Exception as error:  # reported to each caller; the thread goes on
            if len(requests) > 1:
                for request in requests:  # one by one: a single request may be the cause
                    self._respond([request])
                return
            logger.warning("request %s is not answered: %s", requests[0].request_id, error)
            known = isinstance(error, Unavailable)
            requests[0].answers.set_exception(
                error if known else Unavailable(f"the model could not answer: {error}")
            )

    def _next(self) -> list[_Request] | None:
        """The oldest waiting requests that fit into one forward pass; None at the end."""
        first = self._waiting.get()
        if first is None:
            return None
        requests, images = [first], len(first.images)
        while images < AT_ONCE:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._waiting.put(None)
                break
            requests.append(more)
            images += len(more.images)
        return requests

    def _answer(self, requests: list[_Request]) -> list[list[Answer]]:
        active = self._active()
        if active.model is None:
            raise Unavailable(active.problem or "no model is loaded")
        size = active.model.card.image_size
        pictures = [_pictures(request, size) for request in requests]
        rows = self._predict(active.model, [p for row in pictures for p in row])
        results = iter(zip(rows.outputs, rows.embeddings, strict=True))
        records: list[tuple[Served, bytes]] = []
        answers: list[list[Answer]] = []
        for request, row in zip(requests, pictures, strict=True):
            answers.append([])
            for position, picture in enumerate(row):
                if picture.answer:
                    answers[-1].append(picture.answer)
                    continue
                served = self._served(active.model, request, position, picture, *next(results))
                if request.recorded:
                    records.append((served, picture.received))
                answers[-1].append(client_json(vars(served), active.model.card))
        self._record(records)
        return answers

    def _predict(self, model: LoadedModel, pictures: list[_Picture]) -> Predictions:
        ready = [picture.pixels for picture in pictures if picture.pixels is not None]
        images = torch.stack(ready) if ready else torch.empty(0)
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
        request: _Request,
        position: int,
        picture: _Picture,
        output: np.ndarray,
        embedding: np.ndarray,
    ) -> Served:
        [answer] = model.card.label_kind.answers(output[None], model.card.classes)
        confidence = round(answer.confidence, DIGITS)
        return Served(
            prediction_id=prediction_id(
                request.request_id, position, picture.sample_id, model.version
            ),
            request_id=request.request_id,
            model=model.version,
            sample_id=picture.sample_id,
            label=answer.label,
            confidence=confidence,
            probabilities=[round(float(value), DIGITS) for value in output],
            needs_review=confidence < self._needs_review_below,
            served_at=now(),
            embedding=half_precision(embedding),
        )


def _pictures(request: _Request, size: int) -> list[_Picture]:
    return [
        _Picture(received, "", None, request.known[position])
        if position in request.known
        else _prepared(received, size)
        for position, received in enumerate(request.images)
    ]


def _prepared(received: bytes, size: int) -> _Picture:
    try:
        accepted = clean_image(received)
        prepared = prepare(decode_image(accepted.content), size)
        return _Picture(received, accepted.sample_id, prepared)
    except ImageRefused as refused:
        error = {"reason": refused.reason, "detail": refused.detail}
    except Exception as unforeseen:  # a failure of one image must not fail the others
        logger.exception("an image could not be read")
        error = {"reason": "NOT_READ", "detail": type(unforeseen).__name__}
    return _Picture(received, "", None, {"error": error})


def client_json(served: Mapping[str, Any], card: ModelCard) -> Answer:
    """The JSON of a prediction as the client gets it, from the fields of `Served`."""
    names = ("prediction_id", "sample_id", "model", "needs_review")
    return {
        **{name: served[name] for name in names},
        **card.label_kind.served(served["probabilities"], card.classes),
    }
