"""The counters of the service, read as it shows them, become what was counted since."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from models.serving import metrics
from models.watching.service_signals import Requests
from settings import Settings
from tasks.watch.service_counters import (
    BY_START,
    BYTES,
    MOST,
    READ_AT,
    counted,
    read_counters,
    since,
)


@contextmanager
def answering(content: bytes, status: int = 200) -> Iterator[Settings]:
    """Settings that name a server which gives this content to whoever has the token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == "Bearer sixteen-letters-x"
            self.send_response(status if allowed and self.path == "/metrics" else 401)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/"
        yield Settings(HONE_SERVICE_URL=address, HONE_SERVICE_TOKEN=SecretStr("sixteen-letters-x"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_the_service_shows_becomes_what_was_counted_since() -> None:
    metrics.count_refused([{"error": {"reason": "NOT_AN_IMAGE"}}])
    metrics._requests.labels("predict", "503", "HALTED").inc(7)
    with answering(metrics.exposition()) as settings:
        first, state = counted(settings, {})
    assert state[READ_AT] > min(map(float, state[BY_START])) > 1.6e9
    assert first == "this is the first reading of the counters"
    metrics.count_refused([{"error": {"reason": "NOT_AN_IMAGE"}}] * 3)
    metrics._images.labels("answered").inc(20)
    metrics._requests.labels("predict", "500", "INTERNAL_ERROR").inc(2)
    metrics._requests.labels("predict", "503", "HALTED").inc(5)
    for seconds in (0.002, 0.07, 90.0):
        metrics._seconds.observe(seconds)
    with answering(metrics.exposition()) as settings:
        second, again = counted(settings, state)
    assert isinstance(second, Requests)
    assert (second.answered, second.refused, second.errors) == (20, 3, 2)
    assert second.latencies is not None
    assert second.latencies.tolist() == [0.005, 0.1, 120.0]
    with answering(metrics.exposition()) as settings:
        quiet, _ = counted(settings, again)
    assert isinstance(quiet, Requests) and quiet.answered == 0


def test_a_service_that_started_anew_counts_from_nothing() -> None:
    before = read({"answered": 900.0, "refused": 5.0, "errors": 0.0, "within +Inf": 100.0}, at=9.0)
    now = {"answered": 30.0, "refused": 1.0, "errors": 0.0, "within 0.1": 8.0, "within +Inf": 9.0}
    new = since(now, before)
    assert new is not None
    assert (new.answered, new.refused) == (30, 1)
    assert new.latencies is not None
    assert np.array_equal(new.latencies, [0.1] * 8 + [0.2])


def test_a_service_that_started_anew_and_counted_more_than_before_is_noticed() -> None:
    before = read({"started": 100.0, "answered": 30.0, "refused": 1.0, "errors": 0.0}, at=150.0)
    now = {"started": 200.0, "answered": 50.0, "refused": 1.0, "errors": 2.0}
    new = since(now, before)
    assert new is not None
    assert (new.answered, new.refused, new.errors) == (50, 1, 2)


def test_services_behind_one_address_are_told_apart_and_their_old_errors_are_not_judged_again() -> (
    None
):
    first, second = (
        {"started": start, "answered": 900.0, "refused": 0.0, "errors": 70.0}
        for start in (100.0, 200.0)
    )
    answers: list[Requests | str] = []
    state: dict[str, Any] = {}
    for one in (first, second, first, second, second):
        one["answered"] += 10
        with answering(exposition(one)) as settings:
            made, state = counted(settings, state)
        answers.append(made)
    assert [isinstance(made, str) for made in answers] == [True, True, False, False, False]
    numbers = [(one.answered, one.errors) for one in answers if isinstance(one, Requests)]
    assert numbers == [(10, 0)] * 3
    third = {"started": state[READ_AT] + 1, "answered": 5.0, "refused": 0.0, "errors": 2.0}
    with answering(exposition(third)) as settings:  # it started after the last check
        new, _ = counted(settings, state)
    assert isinstance(new, Requests) and (new.answered, new.errors) == (5, 2)


def test_the_state_does_not_grow_with_each_start_of_the_service() -> None:
    state: dict[str, Any] = {}
    for start in range(100, 100 + 2 * MOST):
        with answering(exposition({"started": start, "answered": 1, "errors": 0})) as settings:
            _, state = counted(settings, state)
    assert len(state[BY_START]) == MOST
    assert str(99.0 + 2 * MOST) in state[BY_START]


def read(totals: dict[str, float], at: float) -> dict[str, Any]:
    """The state after a first reading."""
    return {BY_START: {str(totals.get("started")): totals}, READ_AT: at}


def exposition(totals: dict[str, float]) -> bytes:
    """What a service shows that counted this."""
    return (
        f"hone_started_seconds {totals['started']}\n"
        f'hone_images_total{{outcome="answered"}} {totals["answered"]}\n'
        'hone_requests_total{endpoint="predict",status="500",reason="INTERNAL_ERROR"} '
        f"{totals['errors']}\n"
    ).encode()


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 500, "500 Internal Server Error"),
        (b"\xff\xfe", 200, "gives no counters"),
        (b"hone_images_total{outcome=", 200, "gives no counters"),
        (b'hone_images_total{outcome="answered"} NaN\n', 200, "not a finite number"),
        (b"hone_images_total 5\n", 200, "no label 'outcome'"),
        (b'hone_predict_seconds_bucket{le="many"} 1\n', 200, "gives no counters"),
        (b"#" * (BYTES + 1), 200, "is it the service"),
    ],
)
def test_what_is_no_reading_is_said_and_keeps_the_state(
    content: bytes, status: int, words: str
) -> None:
    with answering(content, status) as settings:
        why, state = counted(settings, {"answered": 4.0})
    assert isinstance(why, str) and words in why
    assert state == {"answered": 4.0}


def test_a_service_that_is_away_or_not_named_is_said() -> None:
    with answering(b"") as settings:
        away = settings
    assert "gives no counters" in str(read_counters(away))
    assert "HONE_SERVICE_URL is not set" in str(read_counters(Settings(HONE_SERVICE_URL=None)))
