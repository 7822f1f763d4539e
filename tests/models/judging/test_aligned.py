"""Two models with other classes: a new class counts, one that was taken away is no comparison."""

import numpy as np

from models.judging.aligned import aligned_outputs

PROBS = np.array([[0.7, 0.3], [0.2, 0.8]], np.float32)


def test_a_class_that_the_model_does_not_know_is_never_its_answer() -> None:
    aligned = aligned_outputs(PROBS, ["cat", "eel"], ["cat", "dog", "eel"])
    assert aligned.tolist() == np.insert(PROBS, 1, 0, axis=1).tolist()
    assert aligned.dtype == PROBS.dtype


def test_the_order_of_classes_is_that_which_is_wanted() -> None:
    assert aligned_outputs(PROBS, ["cat", "eel"], ["eel", "cat"]).tolist() == (
        PROBS[:, ::-1].tolist()
    )
    assert aligned_outputs(PROBS, ["cat", "eel"], ["cat", "eel"]) is PROBS


def test_a_model_that_knows_a_class_too_many_keeps_its_outputs() -> None:
    assert aligned_outputs(PROBS, ["cat", "eel"], ["cat"]) is PROBS
