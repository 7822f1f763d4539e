"""The accumulating test keeps its promise on clean traffic of every kind, and sees mild shifts."""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.image_statistics import STATISTICS
from models.watching.evidence import restarted
from models.watching.martingale import martingale
from models.watching.signals import Family, Shift, Signal, Window
from tests.models.watching.lives import CLASSES, POLICY, clean, evidence, images, ordered, video

ALARM = np.log(POLICY.checks_planned)
REFERENCE = clean(400, np.random.default_rng(1))
SMALL = clean(60, np.random.default_rng(2))


def one(
    window: Window, reference: Window = REFERENCE, state: dict[str, Any] | None = None
) -> tuple[Signal, dict[str, Any]]:
    rng = np.random.default_rng(0)
    signals, after = martingale(reference, window, state or {}, policy=POLICY, rng=rng)
    assert [signal.name for signal in signals] == ["martingale", "class-mix"]
    return signals[0], after


@pytest.mark.parametrize("reference", [REFERENCE, SMALL], ids=["400", "60"])
@pytest.mark.parametrize("kind", [clean, ordered, video])
def test_clean_traffic_of_every_kind_does_not_alarm(reference: Window, kind: Any) -> None:
    for seed in range(2):
        course = evidence(reference, lambda rng: kind(120, rng), 40, seed=seed)
        assert max(course) < ALARM


def test_ordered_traffic_would_alarm_without_the_weights_of_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["models.watching.martingale"]  # the package has a function of this name
    monkeypatch.setattr(module, "class_mix", lambda outputs, base, weights: base)
    assert max(evidence(REFERENCE, lambda rng: ordered(120, rng), 10)) >= ALARM


def test_video_would_alarm_if_every_frame_counted() -> None:
    course = evidence(REFERENCE, lambda rng: video(300, rng), 10, grouped=False)
    assert max(course) >= ALARM


def test_a_mild_shift_is_seen_after_a_few_windows_and_named() -> None:
    hours = iter(range(100))

    def traffic(rng: np.random.Generator) -> Window:
        return clean(120, rng, brighter=0.4 if next(hours) >= 20 else 0.0)

    course = evidence(REFERENCE, traffic, 40)
    assert max(course[:21]) < ALARM <= max(course)
    state: dict[str, Any] = {}
    for seed in range(40):
        window = clean(120, np.random.default_rng(seed), brighter=0.4 if seed >= 20 else 0.0)
        signal, state = one(window, state=state)
    assert signal.outcome == Shift.DRIFT
    assert signal.meaning.startswith("brightness has moved most")
    assert max(signal.detail, key=signal.detail.__getitem__) == "brightness"


def test_the_rows_that_moved_most_are_named_once_a_group() -> None:
    rng = np.random.default_rng(3)
    window = clean(100, rng)
    window.statistics[[7, 8, 50]] += 6
    groups = np.arange(100)
    groups[8] = groups[7]
    signal, _ = one(replace(window, groups=groups))
    assert {7, 8, 50} & set(signal.exemplars[:2]) in ({7, 50}, {8, 50})
    assert not {7, 8} <= set(signal.exemplars)


def test_a_state_is_small_json_and_goes_on_where_it_was() -> None:
    state: dict[str, Any] = {}
    for seed in range(3):
        signal, state = one(clean(100, np.random.default_rng(seed), brighter=0.9), state=state)
    text = json.dumps(state)
    assert len(text) < 60_000
    window = clean(100, np.random.default_rng(9), brighter=0.9)
    assert signal.accumulated > 0
    assert one(window, state=json.loads(text)) == one(window, state=state)
    after, _ = one(window, state=state)
    assert after.accumulated == pytest.approx(after.evidence + signal.accumulated, abs=0.01)


def test_a_state_is_json_also_of_scores_that_the_reference_does_not_know() -> None:
    bare = Window.of(REFERENCE.outputs, REFERENCE.embeddings)  # no statistics
    window = Window.of(SMALL.outputs, SMALL.embeddings)
    first, state = one(window, bare)
    state = json.loads(json.dumps(state, allow_nan=False))  # PostgreSQL takes no NaN
    assert any(None in row for row in state["levels"]["0"])
    second, after = one(window, bare, state)
    assert np.isfinite([first.accumulated, second.accumulated]).all()
    assert any(None in row for row in after["levels"]["0"])


def test_an_answered_alarm_and_a_new_reference_start_anew() -> None:
    state: dict[str, Any] = {}
    for seed in range(6):
        signal, state = one(clean(120, np.random.default_rng(seed), brighter=1.0), state=state)
    assert signal.accumulated > ALARM
    quiet = clean(120, np.random.default_rng(50))
    assert one(quiet, state=state)[0].accumulated > 3
    assert one(quiet, state=restarted(state))[0].accumulated < 3
    other = clean(300, np.random.default_rng(51))
    fresh, moved = one(quiet, other, state)
    assert fresh == one(quiet, other)[0]
    assert moved["reference"] != state["reference"]


def test_a_drift_that_is_known_does_not_alarm_at_any_share_and_another_does() -> None:
    rng = np.random.default_rng(4)
    drifted = clean(200, rng, brighter=2.0)
    parts = [REFERENCE, drifted]
    views = ("outputs", "embeddings", "statistics", "labels")
    arrays = {view: np.concatenate([getattr(part, view) for part in parts]) for view in views}
    known = np.repeat([False, True], [len(part) for part in parts])
    reference = Window.of(**arrays, known=known)

    def mixed(rng: np.random.Generator, changed: int, column: int = 0) -> Window:
        window = clean(120, rng)
        window.statistics[:changed, column] += 2.0
        return window

    for changed in (0, 40, 120):
        draw = lambda rng, changed=changed: mixed(rng, changed)  # noqa: E731
        assert max(evidence(reference, draw, 8)) < ALARM
    assert max(evidence(REFERENCE, lambda rng: mixed(rng, 120), 8)) >= ALARM
    assert max(evidence(reference, lambda rng: mixed(rng, 60, column=5), 8)) >= ALARM


@pytest.mark.parametrize(
    ("window", "reference", "words"),
    [
        (clean(0, np.random.default_rng(0)), REFERENCE, "no row of the window"),
        (clean(9, np.random.default_rng(0)), REFERENCE.take(np.arange(2)), "has 2 rows, 3 are"),
        (clean(9, np.random.default_rng(0), width=3), REFERENCE, "embeddings have 3 columns"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_lost(
    window: Window, reference: Window, words: str
) -> None:
    state = {"accumulated": {"martingale": 4.0}}
    signal, after = one(window, reference, state)
    assert (signal.outcome, signal.evidence, signal.accumulated) == (Shift.UNKNOWN, 0.0, 4.0)
    assert words in signal.meaning
    assert after == state
    assert signal.family == Family.INPUTS


@pytest.mark.parametrize("rows", [3, 5, 8])
def test_a_tiny_reference_bets_little_and_is_never_mute(rows: int) -> None:
    reference = REFERENCE.take(np.arange(rows))
    assert max(evidence(reference, lambda rng: clean(60, rng), 10)) < ALARM
    signal, _ = one(clean(60, np.random.default_rng(1)), reference)
    assert signal.outcome == Shift.NONE


def test_one_row_one_class_constants_and_nan_are_tested_as_far_as_they_go() -> None:
    assert one(clean(1, np.random.default_rng(0)))[0].outcome == Shift.NONE
    labels = np.zeros(200, int)
    single = images(labels, np.random.default_rng(1))
    column = Window.of(np.ones((200, 1)), single.embeddings, single.statistics, labels=labels)
    window = Window.of(np.ones((50, 1)), single.embeddings[:50], single.statistics[:50])
    assert one(window, column)[0].outcome == Shift.NONE
    constant = replace(REFERENCE, statistics=np.ones_like(REFERENCE.statistics))
    same = clean(120, np.random.default_rng(2))
    same.statistics[:] = 1
    assert one(same, constant)[0].outcome == Shift.NONE
    same.statistics[:60, 3] = 2
    assert one(same, constant)[0].outcome == Shift.DRIFT
    same.statistics[:] = np.nan
    assert one(same, constant)[0].evidence < 1
    absent = Window.of(REFERENCE.outputs, REFERENCE.embeddings, labels=REFERENCE.labels)
    assert one(clean(120, np.random.default_rng(2)), absent)[0].outcome == Shift.NONE
    assert len(STATISTICS) == REFERENCE.statistics.shape[1]
    assert REFERENCE.outputs.shape[1] == CLASSES


def test_a_state_of_an_earlier_version_which_had_fewer_bets_goes_on() -> None:
    state: dict[str, Any] = {}
    for seed in range(3):
        signal, state = one(clean(120, np.random.default_rng(seed), brighter=0.9), state=state)
    del state["direction"]
    state["levels"] = {name: level[:4] for name, level in state["levels"].items()}
    after, new = one(clean(120, np.random.default_rng(9), brighter=0.9), state=state)
    assert after.accumulated > signal.accumulated > 2
    assert len(new["levels"]["0"]) > 4
    assert new["direction"]["windows"] == 1
