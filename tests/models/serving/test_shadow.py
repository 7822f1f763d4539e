"""The challenger answers beside the champion, gives way, and says how much it saw."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.database import now
from models.registry.model_store import LoadedModel
from models.runtimes.loading import eager
from models.scoring.predict import Predictions
from models.serving import shadow as shadow_module
from models.serving.load import Load
from models.serving.segment_reader import Record, scan
from models.serving.segments import Served
from models.serving.shadow import Shadow, Trial
from models.serving.shadow_records import FOLDER, ShadowRecord, fields_of_record, shadow_record
from tests.models.saved_models import SIZE, make_card, make_network

CAT, DOG = [0.9, 0.05, 0.05], [0.2, 0.7, 0.1]
PIXELS = torch.zeros((3, SIZE, SIZE), dtype=torch.uint8)
Predict = Callable[[LoadedModel, Sequence[torch.Tensor]], Predictions]


@pytest.fixture(scope="module")
def trial() -> Trial:
    network, empty = make_network(), np.zeros((0, 2), np.float32)
    champion, challenger = (
        LoadedModel(name, "0" * 64, network, make_card(), Predictions(empty, empty))
        for name in ("hone:a", "hone:b")
    )
    return Trial(3, champion, challenger)


def dogs(model: LoadedModel, images: Sequence[torch.Tensor]) -> Predictions:
    return Predictions(
        np.array([DOG] * len(images), np.float32), np.zeros((len(images), 2), np.float32)
    )


def served(*numbers: int) -> list[tuple[Served, torch.Tensor | None, bytes]]:
    return [
        (Served(f"p{one}", "r", "hone:a", f"s{one}", "cat", 0.9, CAT, False, now()), PIXELS, b"")
        for one in numbers
    ]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[Shadow, Load]]]:
    started: list[Shadow] = []

    def make(predict: Predict = dogs) -> tuple[Shadow, Load]:
        load = Load()
        started.append(Shadow(tmp_path, predict, load, needs_review_below=0.8))
        return started[-1], load

    yield make
    for one in started:
        one.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def recorded(folder: Path) -> list[ShadowRecord]:
    parts = [part for path in sorted((folder / FOLDER).glob("*.seg"))
             for part in scan(path, fields_of=fields_of_record)]  # fmt: skip
    assert all(isinstance(part, Record) for part in parts)
    return [shadow_record(part.fields) for part in parts if isinstance(part, Record)]


def test_its_answers_are_recorded_beside_what_was_served(start, trial, tmp_path):
    shadow, _ = start()
    shadow.answered(trial, trial.champion, served(1, 2))
    until(lambda: shadow.status()["answered"] == 2)
    shadow.close()
    records = recorded(tmp_path)
    answers = [answer for one in records for answer in one.answers]
    assert {(one.prediction_id, one.served_label, one.label) for one in answers} == {
        ("p1", "cat", "dog"), ("p2", "cat", "dog"),
    }  # fmt: skip
    assert all(one.needs_review and not one.served_review for one in answers)
    assert {(one.release, one.champion, one.challenger) for one in records} == {
        (3, "hone:a", "hone:b")
    }
    assert sum(one.champion_live.answered for one in records) == 2
    assert any(one.timings for one in records)
    assert shadow.status()["disagreements"] == 2


@pytest.mark.parametrize("name", ["champion", "challenger"])
@pytest.mark.parametrize(
    ("settled", "problem", "timings"),
    [(False, None, 0), (False, "it failed", 0), (True, "it failed", 1), (True, None, 1)],
)
def test_models_are_timed_as_they_serve_once_their_runtimes_are_settled(
    start, trial, tmp_path, name, settled, problem, timings
):
    models = {one: getattr(trial, one) for one in ("champion", "challenger")}
    runtimes = {one: eager(model, threads=1) for one, model in models.items()}
    for one, runtime in runtimes.items():
        runtime.settled, runtime.problem = (settled, problem) if one == name else (True, None)
    pair = replace(
        trial, **{one: replace(model, runtime=runtimes[one]) for one, model in models.items()}
    )
    shadow, _ = start()
    shadow.answered(pair, pair.champion, served(1))
    until(lambda: shadow.status()["answered"] == 1)
    shadow.close()
    assert sum(len(one.timings) for one in recorded(tmp_path)) == timings


def test_nothing_is_asked_while_a_request_waits(start, trial):
    shadow, load = start()
    load.begin()
    shadow.answered(trial, trial.champion, served(1))
    assert not load.wait_for_none(0.3)
    assert (shadow.status()["answered"], shadow.status()["waiting"]) == (0, 1)
    load.end()
    until(lambda: shadow.status()["answered"] == 1)


def test_while_requests_come_it_takes_one_image_and_rests(start, trial, monkeypatch):
    sizes: list[int] = []

    def predict(model: LoadedModel, images: Sequence[torch.Tensor]) -> Predictions:
        if model.version == "hone:b":
            sizes.append(len(images))
        return dogs(model, images)

    monkeypatch.setattr(shadow_module, "QUIET_SECONDS", 3600.0)
    shadow, load = start(predict)
    load.begin()
    load.end()  # a moment ago
    shadow.answered(trial, trial.champion, served(*range(8)))
    until(lambda: shadow.status()["answered"] == 8)
    assert set(sizes) == {1}


def test_what_it_answered_is_recorded_while_it_rests(start, trial, tmp_path, monkeypatch):
    """A rest after a slow image takes a minute: a worker that is killed then loses no more."""
    monkeypatch.setattr(shadow_module, "QUIET_SECONDS", 3600.0)
    monkeypatch.setattr(shadow_module, "RECORD_SECONDS", 0.05)
    monkeypatch.setattr(shadow_module, "REST", 10**9)
    shadow, load = start()
    load.begin()
    load.end()
    shadow.answered(trial, trial.champion, served(1, 2))
    until(lambda: [one for record in recorded(tmp_path) for one in record.answers])
    shadow.answered(trial, trial.challenger, served(3))  # by a canary, meanwhile
    until(lambda: sum(one.challenger_live.answered for one in recorded(tmp_path)) == 1)
    assert (shadow.status()["answered"], shadow.status()["waiting"]) == (1, 1)


def test_what_has_no_place_in_the_queue_is_counted_and_recorded(
    start, trial, tmp_path, monkeypatch
):
    monkeypatch.setattr(shadow_module, "WAITING_IMAGES", 5)
    shadow, load = start()
    load.begin()  # under load for good
    for first in (0, 4, 8):
        shadow.answered(trial, trial.champion, served(*range(first, first + 4)))
    assert shadow.status() == {
        "answered": 0, "failed": 0, "passed_over": 7, "disagreements": 0, "waiting": 5,
        "share": 0.0,
    }  # fmt: skip
    until(lambda: sum(one.passed_over for one in recorded(tmp_path)) == 7)
    shadow.close()  # what waits is passed over, too
    assert sum(one.passed_over for one in recorded(tmp_path)) == 12


def test_an_image_that_the_challenger_fails_on_spares_the_others(start, trial, tmp_path):
    def predict(model: LoadedModel, images: Sequence[torch.Tensor]) -> Predictions:
        if any((image == 7).any() for image in images):
            raise RuntimeError("seven")
        return dogs(model, images)

    shadow, _ = start(predict)
    bad = [(one, torch.full_like(PIXELS, 7), b"") for one, _, _ in served(9)]
    shadow.answered(trial, trial.champion, [*served(1), *bad, *served(2)])
    until(lambda: shadow.status()["answered"] == 2)
    until(lambda: shadow.status()["failed"] == 1)
    shadow.close()
    errors = [answer.error for one in recorded(tmp_path) for answer in one.answers]
    assert sorted(errors, key=str) == [None, None, "RuntimeError: seven"]


def test_a_text_of_an_error_that_no_database_takes_costs_no_answer(start, trial, tmp_path):
    def predict(model: LoadedModel, images: Sequence[torch.Tensor]) -> Predictions:
        raise RuntimeError("zero \0 and half \ud800" + 300 * "\0")

    shadow, _ = start(predict)
    shadow.answered(trial, trial.champion, served(1))
    until(lambda: shadow.status()["failed"] == 1)
    shadow.close()
    [error] = [answer.error for one in recorded(tmp_path) for answer in one.answers]
    assert str(error).startswith("RuntimeError: zero \\0 and half \\ud800")


def test_an_image_that_cannot_be_read_again_is_no_fault_of_the_challenger(start, trial):
    shadow, _ = start()
    lost = [(one, None, b"no image") for one, _, _ in served(1)]  # as out of the cache
    shadow.answered(trial, trial.champion, [*lost, *served(2)])
    until(lambda: shadow.status()["answered"] == 1)
    counts = shadow.status()
    assert (counts["failed"], counts["passed_over"]) == (0, 1)


def test_a_canary_counts_what_each_model_answered_and_failed_on(start, trial, tmp_path):
    shadow, _ = start()
    shadow.answered(trial, trial.challenger, served(1, 2))
    shadow.failed(trial, trial.challenger, 3)
    shadow.failed(trial, trial.champion, 1)
    shadow.close()
    [one] = recorded(tmp_path)
    assert (one.challenger_live.answered, one.challenger_live.failed) == (2, 3)
    assert (one.champion_live.answered, one.champion_live.failed) == (0, 1)
    assert one.answers == ()


def test_a_full_disk_ends_nothing(start, trial, tmp_path):
    (tmp_path / FOLDER).write_text("no folder")
    shadow, _ = start()
    shadow.answered(trial, trial.champion, served(1))
    until(lambda: shadow.status()["answered"] == 1)
    shadow.close()
    assert all(one.name != "hone-shadow" for one in threading.enumerate())
