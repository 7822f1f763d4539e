"""Decoding on threads of its own: an image that takes long delays no other request.

What an image takes is known from its header before a pixel is decoded. Requests take turns, and the
largest images share one thread, which also bounds the memory of decoded pictures. A request whose
client got 504 is dropped at its next image. Small images are decoded by the thread that predicts:
to hand them from thread to thread would take as long as to decode them.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from core.image_statistics import Container, packed, statistics_of_all
from core.images import ImageRefused, InspectedImage, decode_inspected, inspect_image
from models.network.images import prepare
from models.serving.answer_cache import Computed
from models.serving.requests import RequestError

THREADS = 2  # for images of ordinary size; decoders work without the interpreter's lock
TURN = 2**20  # pixels that a request decodes until it is the next one's turn: some 20 ms
SMALL = 2**16  # pixels, and bytes, of a request that whoever predicts decodes: a millisecond
LARGE = 2**24  # pixels, 4096 x 4096: a quarter of a second, and 200 MB while it is decoded
REQUEST_PIXELS = 2**27  # of one request: three times the phone photos that fit into one body

logger = logging.getLogger("hone.service")

Answer = dict[str, Any]
Lookup = Callable[[str], Computed | None]  # by the SHA-256 of an image


@dataclass
class Picture:
    """One image of a request: pixels for the network, or what makes them needless."""

    received: bytes
    sample_id: str
    pixels: torch.Tensor | None
    answer: Answer | None = None
    container: Container | None = None  # of an image whose statistics are recorded
    statistics: bytes | None = None  # as recorded, once they are computed
    computed: Computed | None = None  # by an earlier request


@dataclass
class Waiting:
    """A request that waits for its answers; cancelling them stops the work on it."""

    request_id: str
    images: Sequence[bytes]
    recorded: bool = True
    known: Mapping[int, Answer] = field(default_factory=dict)  # by position, recorded before
    source: str | None = None  # where the images come from, as the client says
    key: str | None = None  # by which a canary answers it or the champion; None: the champion
    answers: "Future[list[Answer]]" = field(default_factory=Future)
    inspected: list[InspectedImage | Answer | Computed] = field(default_factory=list)
    sample_ids: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)  # of the first images, in order
    image_size: int = 0  # of the model that the pictures are for
    look_up: Lookup | None = None  # what that model made of earlier images

    def next_work(self) -> int:
        """The pixels of the next image to decode; 0 when nothing of it is to be decoded."""
        return _work_of(self.inspected[len(self.pictures)])


def commit(request: Waiting) -> bool:
    """Whether the answers are still awaited; from now on they cannot be cancelled."""
    answers = request.answers
    if answers.cancelled():
        return False
    return answers.running() or answers.set_running_or_notify_cancel()


def fail(request: Waiting, problem: Exception) -> None:
    """End the request with `problem`, unless nobody awaits its answers any more."""
    if commit(request):
        request.answers.set_exception(problem)


class Decoders:
    """Threads that decode the images of requests and hand on those that are complete."""

    def __init__(self, hand_on: Callable[[Waiting], None], *, request_pixels: int) -> None:
        self._hand_on = hand_on
        self._request_pixels = request_pixels
        self._ordinary = ThreadPoolExecutor(THREADS, "hone-decode")
        self._large = ThreadPoolExecutor(1, "hone-decode-large")

    def decode(self, request: Waiting, image_size: int, look_up: Lookup | None = None) -> None:
        """Decode the request's images for a model of `image_size`, then hand it on.

        Images that `look_up` knows are neither inspected nor decoded.
        """
        if any(isinstance(one, Computed) for one in request.inspected):
            request.inspected = []  # it was looked up for another model
        request.pictures, request.image_size, request.look_up = [], image_size, look_up
        if sum(map(len, request.images)) <= SMALL:
            self._hand_on(request)
        else:
            self._queue(request, self._ordinary)

    def is_decoded(self, request: Waiting) -> bool:
        """Whether a request that was handed on has its pictures: a small one gets them now.

        One that turns out to be no small work is queued, to be handed on again.
        """
        if len(request.pictures) == len(request.images):
            return True
        if request.answers.cancelled():
            return False
        try:
            self._inspect(request)
            if sum(_work_of(one) for one in request.inspected) > SMALL:
                self._queue(request, self._ordinary)
                return False
            request.pictures = [_decoded(request, at) for at in range(len(request.images))]
        except Exception as problem:
            fail(request, problem)
            return False
        return True

    def close(self) -> None:
        """Decode what waits, then end the threads."""
        self._ordinary.shutdown()
        self._large.shutdown()

    def _queue(self, request: Waiting, pool: ThreadPoolExecutor) -> None:
        try:
            pool.submit(self._take_turn, request, pool)
        except RuntimeError:  # closed: what was accepted is finished, here
            self._take_turn(request, pool)

    def _take_turn(self, request: Waiting, pool: ThreadPoolExecutor) -> None:
        try:
            self._inspect(request)
            done = 0
            while len(request.pictures) < len(request.images):
                if request.answers.cancelled():
                    return
                its_pool = self._large if request.next_work() > LARGE else self._ordinary
                if its_pool is not pool or done > TURN:
                    self._queue(request, its_pool)
                    return
                done += request.next_work()
                request.pictures.append(_decoded(request, len(request.pictures)))
        except Exception as problem:
            fail(request, problem)
            return
        self._hand_on(request)

    def _inspect(self, request: Waiting) -> None:
        """Learn what the images claim, unless that is known; too much work is refused."""
        if request.inspected:
            return
        request.sample_ids = [hashlib.sha256(received).hexdigest() for received in request.images]
        request.inspected = [
            request.known.get(position)
            or (request.look_up(sample_id) if request.look_up else None)
            or _inspected(received)
            for position, (sample_id, received) in enumerate(
                zip(request.sample_ids, request.images, strict=True)
            )
        ]
        work = sum(map(_work_of, request.inspected))
        if request.recorded and work > self._request_pixels:
            raise RequestError(
                413,
                "TOO_MANY_PIXELS",
                f"the images of this request have {work:,} pixels to decode; "
                f"{self._request_pixels:,} are the limit of one request: send fewer at a time, or "
                "make them smaller",
            )


def _inspected(received: bytes) -> InspectedImage | Answer:
    try:
        return inspect_image(received)
    except Exception as error:
        return _refusal(error)


def _work_of(one: InspectedImage | Answer | Computed) -> int:
    return one.work if isinstance(one, InspectedImage) else 0


def _decoded(request: Waiting, at: int) -> Picture:
    """One picture of the request."""
    received, inspected = request.images[at], request.inspected[at]
    sample_id = request.sample_ids[at]
    if isinstance(inspected, Computed):
        return Picture(received, sample_id, None, computed=inspected)
    if not isinstance(inspected, InspectedImage):
        return Picture(received, "", None, inspected)
    try:
        decoded = decode_inspected(inspected)
        pixels = prepare(decoded, request.image_size)
        container = _container(decoded, inspected) if request.recorded else None
    except Exception as error:
        return Picture(received, "", None, _refusal(error))
    return Picture(received, sample_id, pixels, container=container)


def _container(decoded: np.ndarray, inspected: InspectedImage) -> Container:
    """The container of the image once it is stored, so that the statistics of the two compare.

    The size is unknown of an image that would be stored with other bytes.
    """
    return Container(
        width=decoded.shape[1],
        height=decoded.shape[0],
        size=len(inspected.bare) if inspected.plain else None,
        format="JPEG" if inspected.kind == "JPEG" else "PNG",
    )


def add_statistics(pictures: Sequence[Picture]) -> None:
    """Compute the statistics that are to be recorded: of a batch in half of the time of each.

    Those that are known stay.
    """
    measured = [
        one
        for one in pictures
        if one.pixels is not None and one.container is not None and one.statistics is None
    ]
    if not measured:
        return
    pixels = np.stack(
        [one.pixels.permute(1, 2, 0).numpy() for one in measured if one.pixels is not None]
    )
    rows = packed(statistics_of_all(pixels, [one.container for one in measured]))
    for one, row in zip(measured, rows, strict=True):
        one.statistics = row


def _refusal(error: Exception) -> Answer:
    """The answer for an image that cannot be read; its failure must not fail the others."""
    if isinstance(error, ImageRefused):
        return {"error": {"reason": error.reason, "detail": error.detail}}
    logger.error("an image could not be read", exc_info=error)
    return {"error": {"reason": "NOT_READ", "detail": type(error).__name__}}
