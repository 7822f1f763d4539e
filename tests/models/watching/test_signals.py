"""Windows set broken rows aside; arrays of other lengths and bad policies are refused."""

import subprocess
import sys

import numpy as np
import pytest

from core.image_statistics import STATISTICS
from models.watching.signals import WatchPolicy, Window


def test_rows_that_are_not_finite_are_set_aside_and_counted() -> None:
    outputs, embeddings = np.full((4, 2), 0.5), np.zeros((4, 3))
    outputs[1, 0], embeddings[3, 2] = np.nan, np.inf
    labels = np.array([0, 1, 0, 1])
    window = Window.of(outputs, embeddings, labels=labels, broken=2)
    assert (len(window), window.broken) == (2, 4)
    assert window.groups.tolist() == [0, 2]
    assert window.labels is not None
    assert window.labels.tolist() == [0, 0]
    assert window.statistics.shape == (2, len(STATISTICS))
    assert np.isnan(window.statistics).all()


def test_rows_are_taken_from_every_array() -> None:
    sources = np.array(["gate", "hall", "gate"])
    window = Window.of(np.eye(3), np.eye(3), groups=np.array([7, 7, 8]), sources=sources)
    taken = window.take(np.array([2, 1]))
    assert taken.sources is not None
    assert taken.sources.tolist() == ["gate", "hall"]
    assert taken.groups.tolist() == [8, 7]
    assert taken.outputs[0].tolist() == [0, 0, 1]


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="embeddings has 2 rows and outputs 3"):
        Window.of(np.eye(3), np.eye(2))


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


def test_signals_and_decisions_are_imported_without_torch_or_alibi_detect() -> None:
    code = "import sys, models.watching, models.watching.decisions; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "alibi_detect", "sklearn"} & set(loaded.stdout.split())
