"""The calibration error is what it is called, and its intervals hold as often as they promise."""

import numpy as np
import pytest

from models.judging.calibration import calibration_difference, expected_calibration_error

CLASSES = ["cat", "dog", "eel"]


def drawn(rows: int, rng: np.random.Generator, *, factor: float = 1.0, size: float = 3.0):
    """Outputs whose logits are `factor` times the truth, truths drawn, and the true error."""
    logits = size * rng.normal(size=(rows, 3))
    truth = softmax(logits)
    truths = classes_of(truth, rng)
    outputs = softmax(factor * logits).astype(np.float32)
    best = outputs.argmax(1)[:, None]
    error = np.take_along_axis(outputs, best, 1) - np.take_along_axis(truth, best, 1)
    return outputs, truths, float(np.abs(error).mean())


def classes_of(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A class for each row, drawn from its probabilities."""
    drawn = probabilities.cumsum(1) > rng.random(len(probabilities))[:, None]
    return np.array(CLASSES)[drawn.argmax(1)]


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def test_a_model_that_is_as_right_as_it_says_has_no_error() -> None:
    outputs, truths, _ = drawn(3000, np.random.default_rng(0))
    error = expected_calibration_error(outputs, truths, CLASSES)
    assert error.value < 0.02 and error.low < 0.01 and error.high < 0.04 and error.rows == 3000


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_too_certain_and_not_certain_enough_are_errors_of_their_size(factor: float) -> None:
    outputs, truths, expected = drawn(3000, np.random.default_rng(0), factor=factor)
    error = expected_calibration_error(outputs, truths, CLASSES)
    assert expected > 0.1 and error.value == pytest.approx(expected, abs=0.02)
    assert error.low <= expected <= error.high


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_interval_holds_as_often_as_it_promises(factor: float) -> None:
    rng, held = np.random.default_rng(0), []
    expected = drawn(50_000, rng, factor=factor)[2]
    for _ in range(200):
        outputs, truths, _ = drawn(100, rng, factor=factor)
        error = expected_calibration_error(outputs, truths, CLASSES)
        held.append(error.low <= expected <= error.high)
    assert np.mean(held) >= 0.93


def test_few_rows_that_are_all_right_claim_no_certainty() -> None:
    outputs = np.tile(np.array([0.99, 0.005, 0.005], np.float32), (12, 1))
    error = expected_calibration_error(outputs, ["cat"] * 12, CLASSES)
    assert error.low == 0 and error.high > 0.1
    same = calibration_difference(outputs, outputs, ["cat"] * 12, CLASSES)
    assert same.value == 0 and same.low < -0.05 and same.high > 0.05


def test_a_model_that_is_made_too_certain_is_worse_than_before_and_not_the_other_way() -> None:
    outputs, truths, _ = drawn(400, np.random.default_rng(0), size=1.5)
    certain = outputs**4 / (outputs**4).sum(axis=1, keepdims=True)
    worse = calibration_difference(certain, outputs, truths, CLASSES)
    better = calibration_difference(outputs, certain, truths, CLASSES)
    assert worse.low > 0.1 and better.high < -0.1
    assert (worse.value, worse.rows) == (-better.value, 400)


@pytest.mark.parametrize("rows", [50, 300])
def test_a_rise_is_seldom_claimed_where_there_is_none(rows: int) -> None:
    """Two models of the same error: their logits differ by noise of the same size."""
    rng = np.random.default_rng(0)
    rises, falls = [], []
    for _ in range(150):
        logits = 2 * rng.normal(size=(rows, 3))
        truths = classes_of(softmax(logits), rng)
        one, other = (softmax(logits + rng.normal(size=logits.shape)) for _ in range(2))
        difference = calibration_difference(one, other, truths, CLASSES)
        rises.append(difference.low > 0)
        falls.append(difference.high < 0)
    assert sum(rises) <= 6 and sum(falls) <= 6


def test_without_rows_there_is_no_error() -> None:
    with pytest.raises(ValueError, match="no row to measure confidence on; label audit samples"):
        expected_calibration_error(np.empty((0, 3)), [], CLASSES)
