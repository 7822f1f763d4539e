"""Decoding in turns: large images delay no small one, and what nobody awaits is not decoded."""

import io
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.images import InspectedImage, clean_image, decode_image
from models.network.images import prepare
from models.serving import decoders
from models.serving.decoders import Decoders, Waiting
from models.serving.requests import RequestError
from tests.models.saved_models import png

SIDE = 20  # of the images of `png`


def large_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2 * SIDE, SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


def plain_png(side: int) -> bytes:
    """A picture of few bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


class Counter:
    """The decoder, which counts its calls; images of more pixels than `holds_above` wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.holds_above, self.may_go = 0, 10**9, threading.Event()
        self.began = threading.Event()
        self._real = decoders.decode_inspected
        monkeypatch.setattr(decoders, "decode_inspected", self.decode)

    def decode(self, inspected: InspectedImage) -> np.ndarray:
        self.calls += 1
        self.began.set()
        if inspected.work > self.holds_above:
            self.may_go.wait()
        return self._real(inspected)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is decoded by the threads for that, unless a test says otherwise."""
    monkeypatch.setattr(decoders, "SMALL", 0)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    counter = Counter(monkeypatch)
    yield counter
    counter.may_go.set()


class Started:
    """Decoders, and the requests that they handed on."""

    def __init__(self, request_pixels: int = 10**6) -> None:
        self.done: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self.decoders = Decoders(self.done.put, request_pixels=request_pixels)

    def decode(self, name: str, images: Sequence[bytes], **more: Any) -> Waiting:
        request = Waiting(name, images, **more)
        self.decoders.decode(request, 8)
        return request


def test_the_pictures_are_those_that_a_model_is_trained_on() -> None:
    started = Started()
    started.decode("a", [png(1), b"no image", png(2)])
    pictures = started.done.get().pictures
    assert [picture.answer is None for picture in pictures] == [True, False, True]
    for picture in (pictures[0], pictures[2]):
        expected = prepare(decode_image(clean_image(picture.received).content), 8)
        assert picture.pixels is not None and picture.pixels.equal(expected)
        assert picture.sample_id == clean_image(picture.received).sample_id
    started.decoders.close()


def test_large_images_stop_no_other_request(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "LARGE", SIDE * SIDE)
    counter.holds_above = SIDE * SIDE
    started = Started()
    hostile = [started.decode(str(number), [large_png()] * 64) for number in range(5)]
    counter.began.wait()
    for number in range(20):
        good = started.decode("good", [png(number)])
        assert started.done.get() is good
    assert sum(len(request.pictures) for request in hostile) == 0
    counter.may_go.set()
    assert {started.done.get().request_id for _ in hostile} == set("01234")
    started.decoders.close()


def test_requests_take_turns(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "THREADS", 1)
    monkeypatch.setattr(decoders, "TURN", SIDE * SIDE)
    started = Started()
    counter.holds_above = 0
    started.decode("many", [png(number) for number in range(64)])
    counter.began.wait()
    started.decode("one", [png()])
    counter.may_go.set()
    assert [started.done.get().request_id for _ in range(2)] == ["one", "many"]
    started.decoders.close()


def test_after_a_request_is_cancelled_none_of_its_images_is_decoded(counter: Counter) -> None:
    started = Started()
    counter.holds_above = 0
    request = started.decode("late", [png(number) for number in range(64)])
    counter.began.wait()
    assert request.answers.cancel()
    counter.may_go.set()
    started.decoders.close()
    assert counter.calls == 1 and started.done.empty()
    with pytest.raises(CancelledError):
        request.answers.result()


def test_a_request_of_too_many_pixels_is_refused_before_one_is_decoded(counter: Counter) -> None:
    started = Started(request_pixels=3 * SIDE * SIDE)
    refused = started.decode("four", [png(number) for number in range(4)])
    with pytest.raises(
        RequestError, match=r"1,600 pixels to decode; 1,200 are the limit"
    ) as problem:
        refused.answers.result()
    assert (problem.value.status, problem.value.reason) == (413, "TOO_MANY_PIXELS")
    assert counter.calls == 0
    started.decode("three", [png(number) for number in range(3)])
    started.decode("checked", [png(number) for number in range(4)], recorded=False)
    assert {started.done.get().request_id for _ in range(2)} == {"three", "checked"}
    started.decoders.close()


def test_what_waits_is_decoded_before_the_threads_end(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "TURN", 0)
    started = Started()
    for number in range(20):
        started.decode(str(number), [png(number)] * 3)
    started.decoders.close()
    assert len([started.done.get() for _ in range(20)]) == 20
    assert counter.calls == 60


def test_an_image_whose_decoder_fails_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(inspected: InspectedImage) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(decoders, "decode_inspected", fail)
    started = Started()
    started.decode("a", [png(), b""])
    refusals = [picture.answer for picture in started.done.get().pictures]
    assert [one["error"]["reason"] for one in refusals if one] == ["NOT_READ", "EMPTY"]
    started.decoders.close()


def test_small_images_are_decoded_by_who_predicts_and_others_by_the_threads(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "SMALL", SIDE * SIDE)
    started = Started()
    small = started.decode("small", [plain_png(SIDE)])
    assert started.done.get() is small and counter.calls == 0
    assert started.decoders.is_decoded(small) and counter.calls == 1
    assert started.decoders.is_decoded(small) and counter.calls == 1, "it is decoded once"

    wide = started.decode("few bytes, many pixels", [plain_png(2 * SIDE)])
    assert started.done.get() is wide and counter.calls == 1
    assert not started.decoders.is_decoded(wide)
    assert started.done.get() is wide and counter.calls == 2
    assert started.decoders.is_decoded(wide)
    started.decoders.close()


def test_small_images_are_refused_and_cancelled_like_others(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "SMALL", 2**16)
    started = Started(request_pixels=SIDE * SIDE)
    refused = started.decode("two", [plain_png(SIDE)] * 2)
    assert not started.decoders.is_decoded(refused)
    with pytest.raises(RequestError, match="400 are the limit"):
        refused.answers.result()
    cancelled = started.decode("late", [plain_png(SIDE)])
    assert cancelled.answers.cancel()
    assert not started.decoders.is_decoded(cancelled) and counter.calls == 0
    damaged = started.decode("damaged", [plain_png(SIDE)[:-20]])
    assert started.decoders.is_decoded(damaged)
    assert [picture.answer is None for picture in damaged.pictures] == [False]
    started.decoders.close()
