import numpy as np
import pytest

from models.watching.evidence import restarted
from models.watching.outcome_signals import Judged, decline, macro_f1, outcome_signals
from models.watching.signals import Shift, Signal, WatchPolicy, Window

POLICY = WatchPolicy()
CLASSES = 5


def outputs_of(truths: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    wrong = (truths + rng.integers(1, CLASSES, len(truths))) % CLASSES
    answers = np.where(rng.random(len(truths)) < accuracy, truths, wrong)
    return 0.6 * np.eye(CLASSES)[answers] + 0.4 / CLASSES


def reference(rows: int = 1000, seed: int = 0) -> Window:
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, CLASSES, rows)
    return Window.of(outputs_of(truths, 0.8, rng), rng.normal(size=(rows, 2)), labels=truths)


def judged(rows: int, accuracy: float, seed: int, *, repeat: int = 1) -> Judged:
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, CLASSES, rows)
    outputs, groups = outputs_of(truths, accuracy, rng), np.arange(rows)
    times = np.repeat(np.arange(rows), repeat)
    return Judged(
        outputs[times], truths[times], np.ones(len(times), bool), groups[times],
    )  # fmt: skip


def run(rows: Judged | None, past: Window, state: dict | None = None) -> tuple[list[Signal], dict]:
    signals, state = outcome_signals(past, rows, state or {}, policy=POLICY)
    assert [signal.name for signal in signals] == ["accuracy", "f1", "recall"]
    return signals, state


REFERENCE = reference()


def test_a_model_as_good_as_at_release_is_quiet_for_a_quarter() -> None:
    highest = 0.0
    state: dict = {}
    for hour in range(300):
        signals, state = run(judged(20, 0.8, hour), REFERENCE, state)
        highest = max(highest, *(signal.accumulated for signal in signals))
    assert highest < np.log(100)
    assert signals[0].value == pytest.approx(0.8, abs=0.3)


def test_a_model_at_the_edge_of_the_decay_rarely_alarms() -> None:
    """5 points below release is not more than 5 points: the wealth stays small in most lives."""
    alarms = 0
    for life in range(40):
        past, top = reference(500, 10_000 + life), 0.0
        state: dict = {}
        for hour in range(40):
            signals, state = run(judged(20, 0.75, 100 * life + hour), past, state)
            top = max(top, signals[0].accumulated)
        alarms += top >= np.log(100)
    assert alarms <= 4


@pytest.mark.parametrize(("name", "place"), [("accuracy", 0), ("f1", 1), ("recall", 2)])
def test_a_decline_is_proven_in_some_outcomes(name: str, place: int) -> None:
    state: dict = {}
    for hour in range(25):
        signals, state = run(judged(20, 0.5, hour), REFERENCE, state)
    assert signals[place].outcome == Shift.DRIFT
    assert signals[place].accumulated > np.log(100)
    assert signals[place].threshold == pytest.approx(0.75, abs=0.08)
    assert f"{name if place < 2 else 'lowest recall'}" in signals[place].meaning


def test_one_class_that_fell_is_seen_by_recall_and_named() -> None:
    state: dict = {}
    for hour in range(30):
        rows = judged(20, 0.8, hour)
        of_class = rows.truths == 3
        rows.outputs[of_class] = 0.6 * np.eye(CLASSES)[1] + 0.4 / CLASSES
        signals, state = run(rows, REFERENCE, state)
    assert signals[2].outcome == Shift.DRIFT
    assert signals[2].detail["class 3"] == 0.0


def test_truths_that_are_not_confirmed_never_judge() -> None:
    rows = judged(500, 0.0, 1)
    weak = Judged(rows.outputs, rows.truths, np.zeros(500, bool), rows.groups)
    signals, _ = run(weak, REFERENCE)
    assert {signal.outcome for signal in signals} == {Shift.UNKNOWN}
    assert {signal.evidence for signal in signals} == {0.0}
    assert "no confirmed truth" in signals[0].meaning


def test_ten_frames_of_one_scene_are_one_outcome() -> None:
    signals, _ = run(judged(4, 0.0, 1, repeat=10), REFERENCE)
    assert signals[0].rows == 4
    assert signals[0].evidence < np.log(100)


def test_what_cannot_be_judged_cannot_tell() -> None:
    bare = Window.of(REFERENCE.outputs, REFERENCE.embeddings)
    wide = judged(20, 0.8, 1)
    wide = Judged(np.hstack([wide.outputs, wide.outputs]), *list(vars(wide).values())[1:])
    strange = Judged(
        np.full((3, CLASSES), np.nan), np.array([0, -1, 9]), np.ones(3, bool), np.arange(3)
    )
    for past, rows, words in [
        (REFERENCE, None, "no truth"), (bare, judged(20, 0.8, 1), "the reference has no labels"),
        (REFERENCE, wide, "outputs have 10 columns"), (REFERENCE, strange, "no confirmed truth"),
    ]:  # fmt: skip
        signals, _ = run(rows, past)
        assert {signal.outcome for signal in signals} == {Shift.UNKNOWN}
        assert all(words in signal.meaning for signal in signals)


def test_the_wealth_of_a_fair_game_is_one_in_mean() -> None:
    rng = np.random.default_rng(0)
    wealth = [np.exp(decline(rng.choice([-0.8, 0.2], 5, p=[0.2, 0.8]), 0.2)) for _ in range(20_000)]
    assert np.mean(wealth) == pytest.approx(1, abs=0.05)
    assert decline(np.array([]), 1.0) == 0.0


def test_macro_f1_is_the_mean_over_classes_that_occur() -> None:
    predicted, truths = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert macro_f1(predicted, truths, 3) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert np.isnan(macro_f1(np.array([], int), np.array([], int), 3))


def doubtful(rows: int, accuracy: float, seed: int) -> Judged:
    """Truths of images that the model gives a confidence of .6."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, CLASSES, rows)
    wrong = (truths + rng.integers(1, CLASSES, rows)) % CLASSES
    answers = np.where(rng.random(rows) < accuracy, truths, wrong)
    outputs = 0.5 * np.eye(CLASSES)[answers] + 0.5 / CLASSES
    return Judged(outputs, truths, np.ones(rows, bool), np.arange(rows))


@pytest.mark.parametrize(
    ("accuracy", "is_known", "drift"),
    [
        (0.6, True, False),  # as right as the model said of these images
        (0.6, False, True),  # without the traffic they are taken for a picture of it
        (0.25, True, True),  # wrong beside its own confidence
    ],
)
def test_truths_of_doubtful_images_are_no_decline(
    accuracy: float, is_known: bool, drift: bool
) -> None:
    sure = np.full((200, CLASSES), 0.02)
    sure[:, 0] = 0.92
    traffic = Window.of(sure, np.zeros((200, 2)))
    signals, state = list[Signal](), dict[str, object]()
    for hour in range(30):
        rows = doubtful(20, accuracy, hour)
        signals, state = outcome_signals(
            REFERENCE, rows, state, policy=POLICY, served=traffic if is_known and not hour else None
        )
    assert (signals[0].outcome == Shift.DRIFT) == drift
    assert ("doubtful images" in signals[0].meaning) == is_known


def test_a_decline_goes_on_gathering_evidence_from_check_to_check_and_begins_anew() -> None:
    """A stake that pays goes on with what it won, instead of sharing it out after each check."""
    state: dict = {}
    for hour in range(25):
        signals, state = run(judged(20, 0.6, hour), REFERENCE, state)
    assert signals[0].accumulated > 10
    assert len(state["wealth"]["accuracy"]) > 1
    quiet, kept = run(None, REFERENCE, state)
    assert quiet[0].accumulated == pytest.approx(signals[0].accumulated)
    _, anew = run(judged(1, 0.8, 7), REFERENCE, restarted(kept))
    assert anew["accumulated"]["accuracy"] < 1
