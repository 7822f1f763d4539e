"""Classification behind the protocol: head, targets, loss, outputs, credit and served JSON."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from models.kinds import DEFAULT, KINDS
from models.kinds.classification import Classification
from models.kinds.kind import Kind

CLASSES = ["cat", "dog", "eel"]
KIND: Kind = Classification()
OUTPUTS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]], np.float32)


def test_the_registry_knows_the_kind_by_its_name() -> None:
    assert [kind.name for kind in KINDS.values()] == list(KINDS)
    assert DEFAULT in KINDS


def test_kinds_are_known_without_torch() -> None:
    script = "import sys, models.kinds; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_outputs_of_a_head_are_probabilities() -> None:
    raw = KIND.head(5, len(CLASSES))(torch.randn(4, 5))
    outputs = KIND.outputs(raw).detach().numpy()
    assert outputs.shape == (4, KIND.output_width(len(CLASSES)))
    assert KIND.problems(outputs, 4, CLASSES) == []
    assert (KIND.probabilities(outputs, CLASSES) == outputs).all()


def test_a_temperature_makes_every_answer_less_certain_and_changes_none() -> None:
    raw = torch.randn(50, len(CLASSES), generator=torch.Generator().manual_seed(0))
    plain, softer = (KIND.outputs(KIND.scaled(raw, one)).numpy() for one in (1, 2))
    assert (plain == KIND.outputs(raw).numpy()).all()
    assert (softer.argmax(1) == plain.argmax(1)).all() and (softer.max(1) < plain.max(1)).all()


def test_targets_are_class_numbers_and_the_loss_is_cross_entropy() -> None:
    rows = pd.DataFrame({"label": ["eel", "cat"]})
    targets = KIND.targets(rows, CLASSES)
    assert targets.tolist() == [2, 0]
    raw = torch.randn(2, 3)
    expected = F.cross_entropy(raw, targets, label_smoothing=0.1, reduction="none")
    assert torch.allclose(KIND.loss(raw, targets, smoothing=0.1), expected)
    each = KIND.loss(raw, targets, smoothing=torch.tensor([0.1, 0.0]))
    assert torch.allclose(each, torch.stack([expected[0], KIND.loss(raw, targets)[1]]))


def test_soft_rows_have_probabilities_as_targets() -> None:
    probs = json.dumps({"cat": 0.5, "dog": 0.25, "gone": 0.25})
    rows = pd.DataFrame({"label": ["eel", "cat"], "probs": [None, probs]})
    targets = KIND.targets(rows, CLASSES, soft=np.array([False, True]))
    assert torch.allclose(targets, torch.tensor([[0.0, 0, 1], [2 / 3, 1 / 3, 0]]))
    rows.loc[1, "probs"] = json.dumps({"gone": 1.0})
    with pytest.raises(
        ValueError, match="soft row has no probability of the classes cat, dog, eel"
    ):
        KIND.targets(rows, CLASSES, soft=np.array([False, True]))


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="'cow' is no class; the classes are cat, dog, eel"):
        KIND.targets(pd.DataFrame({"label": ["cat", "cow"]}), CLASSES)
    assert KIND.unknown_truths(["cat", "cow", None], CLASSES) == ["cow", None]


def test_credit_is_one_where_the_most_probable_class_is_the_truth() -> None:
    assert KIND.credit(OUTPUTS, ["cat", "dog", "dog"], CLASSES).tolist() == [1, 0, 1]
    assert KIND.constant_credit(["cat", "dog", "dog"], np.full(3, 1 / 3)) == pytest.approx(2 / 3)
    groups = KIND.groups(["cat", "dog", "dog"])
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "class cat": [True, False, False], "class dog": [False, True, True],
    }  # fmt: skip


@given(st.integers(0, 2**32 - 1))
def test_credits_are_from_zero_to_one_and_the_confusion_has_every_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, truths = rng.dirichlet(np.ones(3), 9), rng.choice(CLASSES, 9).tolist()
    credit = KIND.credit(outputs, truths, CLASSES)
    assert ((credit >= 0) & (credit <= 1)).all()
    counts = KIND.confusion(outputs, truths, CLASSES)
    assert (counts.sum(), counts.trace()) == (9, credit.sum())


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        (OUTPUTS[:2], r"\(2, 3\); \(3, 3\) is needed"),
        (np.where(OUTPUTS > 0.6, np.nan, OUTPUTS), "no finite answer for 1 of 3"),
        (OUTPUTS * 2, "do not sum to one"),
        (None, r"\(\); \(3, 3\)"),
    ],
)
def test_what_are_no_outputs_is_named(outputs: np.ndarray, problem: str) -> None:
    [found] = KIND.problems(outputs, 3, CLASSES)
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found)


def test_answers_and_served_json_have_the_most_probable_class() -> None:
    [answer] = KIND.answers(OUTPUTS[:1], CLASSES)
    assert (answer.label, answer.confidence) == ("cat", pytest.approx(0.7))
    assert KIND.answers(OUTPUTS[:0], CLASSES) == []
    assert KIND.served([0.1, 0.3, 0.6], CLASSES) == {
        "label": "eel",
        "confidence": 0.6,
        "probabilities": {"cat": 0.1, "dog": 0.3, "eel": 0.6},
    }
    assert list(KIND.views(OUTPUTS)) == ["probabilities"]


def test_strategies_get_the_number_of_each_class_and_none_for_a_class_that_is_unknown() -> None:
    assert KIND.class_numbers(["dog", "eel", "cat"], ["cat", "dog"]).tolist() == [1, -1, 0]
    assert KIND.class_numbers([], ["cat"]).tolist() == []
