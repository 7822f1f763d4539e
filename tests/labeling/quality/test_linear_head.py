"""The head is the optimum of its loss; a soft or weighted row counts as the rows it stands for."""

import numpy as np
import pytest

from labeling.quality.linear_head import STRENGTH, Head, fit_head, softmax

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 5)).astype(np.float32)
LABELS = (ROWS[:, :3] + RNG.normal(size=(60, 3))).argmax(axis=1)
TARGETS = np.eye(3)[LABELS]


def loss(head: Head) -> float:
    logits = ROWS @ head.weights[:-1] + head.weights[-1]
    probs, _ = softmax(logits)
    missed = -np.log(probs[np.arange(60), LABELS]).sum()
    return float(missed + (head.weights**2).sum() / 2 / STRENGTH)


def test_no_step_away_from_the_head_has_a_lower_loss() -> None:
    head = fit_head(ROWS, TARGETS)
    least = loss(head)
    for _ in range(20):
        step = np.random.default_rng(_).normal(size=head.weights.shape) * 0.1
        assert loss(Head(head.weights + step)) > least - 1e-3


def test_where_the_search_begins_changes_nothing() -> None:
    one = fit_head(ROWS, TARGETS)
    again = fit_head(ROWS, TARGETS, start=Head(RNG.normal(size=one.weights.shape)))
    assert np.allclose(one.probs(ROWS), again.probs(ROWS), atol=0.01)


def test_a_row_of_weight_two_is_two_rows_and_a_soft_row_is_two_weighted_ones() -> None:
    weights = np.where(np.arange(60) < 10, 2.0, 1.0)
    doubled = fit_head(np.concatenate([ROWS, ROWS[:10]]), np.concatenate([TARGETS, TARGETS[:10]]))
    weighted = fit_head(ROWS, TARGETS, weights)
    assert np.allclose(doubled.probs(ROWS), weighted.probs(ROWS), atol=0.01)
    soft = TARGETS.copy()
    soft[0] = [0.25, 0.75, 0]
    hard = np.concatenate([np.eye(3)[:2], TARGETS[1:]])
    both = fit_head(ROWS[[0, *range(60)]], hard, np.r_[0.25, 0.75, np.ones(59)])
    assert np.allclose(fit_head(ROWS, soft).probs(ROWS), both.probs(ROWS), atol=0.01)


def test_many_rows_are_predicted_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    head = fit_head(ROWS, TARGETS)
    whole = head.probs(ROWS)
    monkeypatch.setattr("labeling.quality.linear_head.BLOCK", 7)
    assert np.allclose(head.probs(ROWS), whole, atol=1e-6)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)
