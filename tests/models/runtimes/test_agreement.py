"""Agreement: measured without truths, and its bounds hold where there are any."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.judging.calibration import expected_calibration_error
from models.kinds import DEFAULT, KINDS
from models.runtimes.agreement import Agreement, compare
from models.scoring.predict import Predictions

KIND, CLASSES = KINDS[DEFAULT], ("cat", "dog", "eel")
PERFECT = Agreement(1000, 1.0, 0.0, 0.0, 0.0, 0.0)


def predictions(seed: int, noise: float = 0.0, rows: int = 1000) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3)) * 3
    logits += np.random.default_rng(99).normal(size=(rows, 3)) * noise
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(probs.astype(np.float32), rng.normal(size=(rows, 8)).astype(np.float32))


def test_equal_predictions_agree_and_rounding_does_no_harm() -> None:
    same = compare(predictions(1), predictions(1), KIND, CLASSES)
    assert (same.same_label, same.probability, same.embedding) == (1.0, 0.0, 0.0)
    assert same.problem() is None
    assert compare(predictions(1), predictions(1, 1e-5), KIND, CLASSES).problem() is None


def test_other_labels_are_named_with_their_share() -> None:
    reference = predictions(1)
    turned = reference.outputs.copy()
    turned[:3] = np.roll(turned[:3], 1, axis=1)
    problem = compare(reference, replace(reference, outputs=turned), KIND, CLASSES).problem()
    assert problem == "the same label for 99.70% of 1,000 images only"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"same_label": 0.9989}, "the same label"),
        ({"probability": 0.03}, "probabilities: 0.03 apart, 0.02 is the limit"),
        ({"calibration": 0.006}, "the calibration error"),
        ({"log_loss": 0.002}, "the log loss"),
        ({"embedding": 0.1}, "embeddings"),
        ({"probability": float("nan")}, "probabilities: nan apart"),
    ],
)
def test_each_bound_is_kept(changes: dict[str, Any], named: str) -> None:
    assert named in str(replace(PERFECT, **changes).problem())


def test_the_calibration_error_moves_by_no_more_than_the_bound() -> None:
    rng = np.random.default_rng(3)
    truths = [CLASSES[number] for number in rng.integers(0, 3, 1000)]
    for noise in (0.01, 0.1, 0.5):
        one, two = predictions(1), predictions(1, noise)
        bound = compare(one, two, KIND, CLASSES).calibration
        errors = [_plain_error(side.outputs, truths) for side in (one, two)]
        assert abs(errors[0] - errors[1]) <= bound
        assert bound > 0
    assert expected_calibration_error(predictions(1).outputs, truths, CLASSES).rows == 1000


def _plain_error(outputs: np.ndarray, truths: list[str]) -> float:
    """The expected calibration error with a bin of its own for all rows."""
    right = np.array(
        [CLASSES[row.argmax()] == truth for row, truth in zip(outputs, truths, strict=True)]
    )
    return float(abs((outputs.max(axis=1) - right).mean()))


def test_rows_that_are_missing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(predictions(1), predictions(1, rows=3), KIND, CLASSES)
