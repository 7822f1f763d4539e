import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from models.scoring.predict import Predictions
from models.watching import DETECTORS
from models.watching.alibi import columns_test
from models.watching.detectors import decide
from models.watching.detectors import signals as all_signals
from models.watching.signals import (
    Action,
    Decision,
    Family,
    Shift,
    Signal,
    WatchPolicy,
    Window,
)

POLICY = WatchPolicy(detectors=("ks",))
CLASSES, WIDTH = 5, 40
AXES = np.random.default_rng(99).normal(size=(WIDTH, CLASSES))


def traffic(rows: int, *, seed: int, shift: float = 0.0) -> Predictions:
    """What a model would say of Gaussian images, all moved by `shift` standard deviations."""
    embeddings = np.random.default_rng(seed).normal(size=(rows, WIDTH)) + shift
    odds = np.exp(embeddings @ AXES / 5)
    return Predictions((odds / odds.sum(axis=1, keepdims=True)).astype("f"), embeddings.astype("f"))


def signals(*given: Any, **more: Any) -> list[Signal]:
    """Without notes, such as that nobody recorded image statistics."""
    return [signal for signal in all_signals(*given, **more) if signal.weight > 0]


def repeated(seen: Predictions, rows: list[int]) -> Predictions:
    return Predictions(seen.outputs[rows], seen.embeddings[rows])


def signal_of(name: str, outcome: Shift, meaning: str) -> Signal:
    return Signal(name, Family.INPUTS, outcome, None, None, 0.0, 0.0, None, 200, 200, meaning)


def outcomes(
    reference: Predictions, window: Predictions, policy: WatchPolicy = POLICY
) -> list[str]:
    return [signal.outcome for signal in signals(reference, window, policy)]


def why_not(reference: Predictions, window: Predictions) -> str:
    found = signals(reference, window, POLICY)
    assert {signal.outcome for signal in found} == {"cannot tell"}
    assert {(signal.value, signal.p_value, signal.threshold) for signal in found} == {(None,) * 3}
    assert {signal.evidence for signal in found} == {0.0}
    decision = decide(found, POLICY)
    assert decision.action == "cannot-tell"
    return decision.reason


REFERENCE = traffic(400, seed=0)
CLEAN = traffic(200, seed=1)


def test_traffic_like_the_reference_is_no_drift_and_shifted_traffic_is() -> None:
    clean = signals(REFERENCE, CLEAN, POLICY)
    assert [signal.name for signal in clean] == ["ks-probabilities", "ks-embeddings"]
    assert [signal.outcome for signal in clean] == ["no drift", "no drift"]
    shifted = signals(REFERENCE, traffic(200, seed=1, shift=0.7), POLICY)
    assert [signal.outcome for signal in shifted] == ["drift", "drift"]
    assert all(signal.threshold == 1 / 2160 / 3 for signal in shifted)
    assert all(signal.rows == 200 for signal in clean + shifted)


def test_the_detectors_of_the_policy_make_the_signals() -> None:
    def mean(
        reference: Window, window: Window, state: Any, *, policy: WatchPolicy, rng: Any
    ) -> tuple[list[Signal], dict[str, Any]]:
        return [signal_of("mean", Shift.NONE, "no difference")], {}

    both = {**DETECTORS, "mean": mean}
    policy = replace(POLICY, detectors=("ks",))
    object.__setattr__(policy, "detectors", ("ks", "mean"))  # as if it were registered
    names = [one.name for one in signals(REFERENCE, CLEAN, policy, detectors=both)]
    assert names == ["ks-probabilities", "ks-embeddings", "mean"]
    unsure = signals(REFERENCE, traffic(3, seed=1), policy, detectors=both)
    assert [signal.name for signal in unsure] == ["ks", "mean"]


def test_clean_windows_alarm_no_oftener_than_the_policy_says() -> None:
    alarms = [
        min(
            signal.p_value or 0.0
            for signal in signals(traffic(300, seed=2 * i), traffic(200, seed=2 * i + 1), POLICY)
        )
        <= 0.025
        for i in range(1000, 1120)
    ]
    assert sum(alarms) <= 14  # a binomial of 120 trials at 0.05 is above with p = 0.001


def test_an_embedding_wider_than_the_reference_is_long_is_no_false_alarm() -> None:
    def wide(rows: int, seed: int) -> Predictions:
        narrow = traffic(rows, seed=seed)
        return Predictions(
            narrow.outputs, np.random.default_rng(seed).normal(size=(rows, 512)).astype("f")
        )

    found = [outcomes(wide(200, 2 * i), wide(200, 2 * i + 1)) for i in range(10)]
    assert found == [["no drift", "no drift"]] * 10


def test_the_same_arrays_give_the_same_signals_in_whatever_order_their_rows_come() -> None:
    order = np.random.default_rng(5).permutation(900)
    many = traffic(900, seed=7, shift=0.1)
    first = signals(REFERENCE, many, POLICY)
    assert first == signals(REFERENCE, many, POLICY)
    shuffled = signals(REFERENCE, repeated(many, list(order)), POLICY)
    assert [signal.p_value for signal in first] == pytest.approx([s.p_value for s in shuffled])


def test_a_tiny_shift_in_a_giant_window_is_no_drift() -> None:
    assert outcomes(traffic(5000, seed=2), traffic(20000, seed=3, shift=0.02)) == ["no drift"] * 2


def test_a_shift_below_the_smallest_effect_that_matters_is_no_drift() -> None:
    large = replace(POLICY, window=20000)
    reference, window = traffic(20000, seed=2), traffic(20000, seed=3, shift=0.05)
    measured = signals(reference, window, large)
    assert min(signal.p_value or 1.0 for signal in measured) <= 1 / POLICY.checks_planned / 3
    assert [signal.outcome for signal in measured] == ["no drift"] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("view", ["outputs", "embeddings"])
def test_one_row_that_is_not_finite_cannot_hide_a_shift(value: float, view: str) -> None:
    window = traffic(200, seed=1, shift=5)
    getattr(window, view)[17, 2] = value
    assert "1 of 200 rows of the window not finite" in why_not(REFERENCE, window)
    assert "1 of 200 rows of the reference not finite" in why_not(window, CLEAN)


@pytest.mark.parametrize("rows", [0, 1, 49])
def test_too_few_rows_on_either_side_cannot_tell(rows: int) -> None:
    few = traffic(rows, seed=1, shift=5)
    assert f"{rows} different rows in the window, 50 are needed" in why_not(REFERENCE, few)
    assert f"{rows} different rows in the reference" in why_not(few, CLEAN)


def test_rows_logged_five_times_count_once() -> None:
    for seed in range(10):
        logged = repeated(traffic(150, seed=seed), list(range(150)) * 5)
        found = signals(REFERENCE, logged, POLICY)
        assert [(signal.outcome, signal.rows) for signal in found] == [("no drift", 150)] * 2
    five = repeated(traffic(40, seed=1), list(range(40)) * 5)
    assert "40 different rows in the window" in why_not(REFERENCE, five)


def test_one_row_that_is_most_of_the_window_cannot_tell() -> None:
    flood = repeated(traffic(200, seed=1), list(range(200)) + [3] * 300)
    assert "one row makes up 301 of 500 rows of the window" in why_not(REFERENCE, flood)
    constant = repeated(CLEAN, [0] * 200)
    assert "one row makes up 200 of 200 rows of the reference" in why_not(constant, CLEAN)


def test_a_window_of_another_width_cannot_tell() -> None:
    wide = Predictions(CLEAN.outputs, np.hstack([CLEAN.embeddings] * 2))
    assert "embeddings have 80 columns in the window and 40 in the reference" in why_not(
        REFERENCE, wide
    )
    classes = Predictions(CLEAN.outputs[:, :4], CLEAN.embeddings)
    assert "outputs have 4 columns in the window and 5 in the reference" in why_not(
        REFERENCE, classes
    )


def test_the_swap_named_in_the_licence_note_gives_the_same_numbers() -> None:
    p_values, distances = columns_test(REFERENCE.outputs, CLEAN.outputs)
    for column in range(CLASSES):
        peer = ks_2samp(REFERENCE.outputs[:, column], CLEAN.outputs[:, column], method="asymp")
        assert p_values[column] == pytest.approx(peer.pvalue, rel=1e-6)
        assert distances[column] == pytest.approx(peer.statistic, rel=1e-6)


def test_any_drift_asks_for_labels_and_ignorance_is_never_called_no_drift() -> None:
    drift = signal_of("one", Shift.DRIFT, "moved by 0.5")
    quiet = signal_of("two", Shift.NONE, "moved by 0.1")
    unsure = signal_of("three", Shift.UNKNOWN, "3 rows")
    assert decide([quiet, quiet], POLICY) == Decision(
        Action.NONE, "No drift. two: moved by 0.1; two: moved by 0.1."
    )
    assert decide([unsure, drift, quiet], POLICY) == Decision(
        Action.LABEL_SERVED,
        "The traffic has drifted (by chance at most once in 2,160 checks). one: moved by 0.5.",
    )
    assert decide([quiet, unsure], POLICY) == Decision(
        Action.CANNOT_TELL, "Cannot tell. three: 3 rows."
    )
    assert decide([], POLICY).action == "cannot-tell"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_rows": 1}, "min_rows is 1; choose 2 or more"),
        ({"window": 40}, "min_rows is 50 with a window of 40"),
        ({"alarms_per_quarter": 0}, "alarms_per_quarter is 0; choose above 0"),
        ({"detectors": ["ks", "nose"]}, "detectors.1 is 'nose'; choose one of martingale, ks"),
        ({"false_alarms": 0.01}, "false_alarms is no longer a setting; choose alarms_per_quarter"),
        ({"min_effect": 0.1}, "min_effect is no longer a setting; choose alarms_per_quarter"),
        ({"retrain_when": "rain"}, "retrain_when is 'rain'; choose 'drift'"),
    ],
)
def test_a_bad_policy_is_named_with_its_choices(wrong: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WatchPolicy(**wrong)


def test_the_module_is_imported_without_torch_or_alibi_detect() -> None:
    code = "import sys, models.watching.detectors, models.watching.decisions; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "alibi_detect", "sklearn"} & set(loaded.stdout.split())
