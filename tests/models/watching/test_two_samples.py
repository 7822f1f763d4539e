"""What is promised of every detector that compares a window with the reference by a test."""

import warnings

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp

from core.image_statistics import STATISTICS
from models.watching import DETECTORS
from models.watching.alibi import columns_test
from models.watching.chi2 import chi2
from models.watching.evidence import MOST, restarted
from models.watching.ks import ks
from models.watching.lsdd import alibi_mmd, lsdd
from models.watching.mmd import mmd
from models.watching.psi import psi
from models.watching.signals import Detector, Family, Shift, Signal, WatchPolicy, Window
from models.watching.uncertainty import uncertainty
from models.watching.views import calibrated, compared

TESTS: dict[str, Detector] = {
    "ks": ks, "mmd": mmd, "alibi-mmd": alibi_mmd, "lsdd": lsdd, "chi2": chi2,
    "uncertainty": uncertainty, "psi": psi,
}  # fmt: skip
POLICY = WatchPolicy(min_rows=40)
CLASSES, WIDTH = 4, 12
AXES = np.random.default_rng(99).normal(size=(WIDTH, CLASSES))


def traffic(rows: int, seed: int, shift: float = 0.0, *, recorded: bool = True) -> Window:
    """Gaussian images of which every axis has moved; the classes follow from the axes."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(rows, WIDTH)) + shift
    odds = np.exp(embeddings @ AXES)
    statistics = rng.normal(size=(rows, len(STATISTICS))) + shift if recorded else None
    return Window.of(odds / odds.sum(axis=1, keepdims=True), embeddings, statistics)


def run(
    name: str, reference: Window, window: Window, state: dict | None = None, seed: int = 0
) -> tuple[list[Signal], dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TESTS[name](
            reference, window, state or {}, policy=POLICY, rng=np.random.default_rng(seed)
        )


REFERENCE = traffic(200, 0)


@pytest.mark.parametrize("name", TESTS)
def test_it_says_drift_of_a_shift_and_names_the_rows(name: str) -> None:
    signals, _ = run(name, REFERENCE, traffic(100, 1, 1.2))
    assert any(signal.outcome == Shift.DRIFT for signal in signals)
    strongest = max(signals, key=lambda signal: signal.evidence)
    assert strongest.evidence > 2
    assert strongest.p_value is not None
    assert strongest.p_value <= 0.005
    assert all(signal.family in (Family.INPUTS, Family.OUTPUTS) for signal in signals)
    assert (strongest.rows, strongest.groups) == (100, 100)
    if name != "chi2":  # every image of a class that is too frequent moved as much
        assert len(set(strongest.exemplars)) == 9
        assert set(strongest.exemplars) <= set(range(100))


@pytest.mark.parametrize("name", TESTS)
def test_clean_windows_are_as_improbable_as_it_says(name: str) -> None:
    windows, level = 40, 0.1
    low = 0
    state: dict = {}
    for seed in range(windows):
        reference = traffic(150, 1000 + 2 * seed)
        signals, state = run(name, reference, traffic(50, 1001 + 2 * seed), state, seed)
        assert {signal.outcome for signal in signals} == {Shift.NONE}
        p_values = [signal.p_value for signal in signals if signal.p_value is not None]
        low += min(p_values) * len(p_values) <= level
    assert binom.sf(low - 1, windows, level) > 0.001


@pytest.mark.parametrize("name", TESTS)
def test_frames_of_a_video_count_once(name: str) -> None:
    scenes = traffic(50, 3)
    frames = scenes.take(np.repeat(np.arange(50), 10))
    for signal in run(name, REFERENCE, frames)[0]:
        assert (signal.outcome, signal.groups, signal.rows) == (Shift.NONE, 50, 500)
    few = traffic(39, 3, 5.0).take(np.repeat(np.arange(39), 10))
    for signal in run(name, REFERENCE, few)[0]:
        assert (signal.outcome, signal.evidence) == (Shift.UNKNOWN, 0.0)
        assert "39 different images in the window, 40 are needed" in signal.meaning


@pytest.mark.parametrize("name", TESTS)
def test_what_it_cannot_compare_it_cannot_tell(name: str) -> None:
    wide = Window.of(np.full((60, CLASSES + 1), 0.2), np.ones((60, WIDTH)))
    for window, words in [
        (traffic(1, 2, 5.0), "1 different images in the window"),
        (traffic(0, 2), "0 different images in the window"),
        (wide, "outputs have 5 columns in the window and 4 in the reference"),
    ]:
        for signal in run(name, REFERENCE, window)[0]:
            assert (signal.outcome, signal.evidence) == (Shift.UNKNOWN, 0.0)
            assert words in signal.meaning
    for signal in run(name, traffic(19, 0), traffic(60, 1))[0]:
        assert "19 different images in the reference, 20 are needed" in signal.meaning


@pytest.mark.parametrize("name", TESTS)
def test_constant_columns_and_rows_without_statistics_are_no_drift(name: str) -> None:
    one_class = np.eye(CLASSES)[np.zeros(80, int)]
    rng = np.random.default_rng(5)
    half = rng.normal(size=(80, len(STATISTICS)))
    half[::2, 3] = np.nan
    half[:, 4] = np.nan
    half[:, 5] = 1.0
    embeddings = rng.normal(size=(80, WIDTH))
    embeddings[:, 2] = 0.5
    flat = Window.of(one_class, embeddings, half)
    for signal in run(name, flat.take(np.arange(0, 80)[:40]), flat.take(np.arange(40, 80)))[0]:
        assert signal.outcome in (Shift.NONE, Shift.UNKNOWN)
        assert np.isfinite(signal.evidence)
        assert signal.outcome == Shift.NONE or "not recorded" in signal.meaning


@pytest.mark.parametrize("name", TESTS)
def test_evidence_accumulates_over_windows_until_it_is_answered(name: str) -> None:
    first, state = run(name, REFERENCE, traffic(100, 1, 1.2))
    second, state = run(name, REFERENCE, traffic(100, 2, 1.2), state)
    for before, after in zip(first, second, strict=True):
        assert after.accumulated == pytest.approx(
            min(max(before.accumulated, 0) + after.evidence, MOST), abs=1e-4
        )
    third, _ = run(name, REFERENCE, traffic(100, 2), restarted(state))
    assert all(signal.accumulated == pytest.approx(signal.evidence, abs=1e-4) for signal in third)


def test_statistics_that_nobody_recorded_are_a_note_without_weight() -> None:
    bare = traffic(100, 0, recorded=False)
    for name in ("ks", "psi"):
        note = run(name, bare, bare)[0][-1]
        assert (note.name, note.outcome, note.weight) == (f"{name}-statistics", Shift.UNKNOWN, 0.0)


def test_all_of_them_can_be_chosen() -> None:
    assert TESTS.items() <= DETECTORS.items()
    assert WatchPolicy(detectors=tuple(TESTS)).detectors == tuple(TESTS)


def test_a_test_that_alarms_too_often_on_the_reference_is_calibrated_once() -> None:
    pair = compared(REFERENCE, traffic(60, 1), POLICY, np.random.default_rng(0))["embeddings"]
    draws = np.random.default_rng(1)
    too_low, stored = calibrated(
        1e-4, lambda chosen: draws.random() ** 3, pair, {}, "test", np.random.default_rng(2)
    )
    assert 0.3 < stored["test-calibration"] < 0.8
    assert too_low == pytest.approx(1e-4 ** stored["test-calibration"], rel=1e-3)
    again, _ = calibrated(1e-4, lambda chosen: 1 / 0, pair, stored, "test", draws)
    assert again == pytest.approx(too_low, rel=1e-3)
    fair, stored = calibrated(
        1e-4, lambda chosen: draws.random() ** 0.5, pair, {}, "test", np.random.default_rng(2)
    )
    assert (fair, stored["test-calibration"]) == (1e-4, 1.0)


def test_the_swap_named_in_the_licence_note_gives_the_same_numbers() -> None:
    reference, window = traffic(300, 1).outputs, traffic(200, 2).outputs
    p_values, distances = columns_test(reference, window)
    for column in range(CLASSES):
        peer = ks_2samp(reference[:, column], window[:, column], method="asymp")
        assert p_values[column] == pytest.approx(peer.pvalue, rel=1e-6)
        assert distances[column] == pytest.approx(peer.statistic, rel=1e-6)
