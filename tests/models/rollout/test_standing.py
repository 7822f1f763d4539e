"""What the verdict expects of the disagreement of two models."""

import pytest

from models.rollout.standing import disagreement_of


def test_without_figures_nothing_is_expected() -> None:
    assert disagreement_of({}) is None
    assert disagreement_of({"rows": 0, "champion_accuracy": 0.5}) is None
    assert disagreement_of({"rows": 50}) is None


def test_rows_on_which_either_is_wrong_may_differ() -> None:
    metrics = {"rows": 100, "champion_accuracy": 0.9, "only_challenger_right": 4,
               "only_champion_right": 2}  # fmt: skip
    bound = disagreement_of(metrics)  # 88 rows are right with both
    assert bound is not None
    assert 0.12 < bound < 0.2
    more = disagreement_of({**metrics, "rows": 1000, "champion_accuracy": 0.99})
    assert more is not None and more < bound
    assert disagreement_of(metrics | {"champion_accuracy": 0.0}) == pytest.approx(1.0)
