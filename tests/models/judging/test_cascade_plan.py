"""The plan of a cascade: what each threshold costs and loses, and that the chosen one is safe."""

import numpy as np
import pytest

from models.judging import cascade_plan
from models.judging.cascade_plan import THRESHOLDS, CascadePlan, Costs, Outputs, plan_cascade, price
from models.kinds import DEFAULT, KINDS

CLASSES = ("cat", "dog")
COSTS = Costs(front_ms=1.0, champion_ms=10.0)
NAMES = ("hone:small", "hone:large")


def outputs_of(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Outputs of this confidence whose answer is "cat", the truth, where they are right."""
    cat = np.where(is_right, confidence, 1 - confidence)
    return np.stack([cat, 1 - cat], axis=1)


def plan(
    confidence: np.ndarray,
    front_right: np.ndarray,
    champion_right: np.ndarray,
    *,
    loss: float = 0.02,
    thresholds: tuple[float, ...] = THRESHOLDS,
    costs: Costs = COSTS,
) -> CascadePlan:
    rows = len(confidence)
    outputs = Outputs(
        outputs_of(confidence, front_right),
        outputs_of(np.full(rows, 0.99), champion_right),
        ["cat"] * rows,
        CLASSES,
        KINDS[DEFAULT],
    )
    return plan_cascade(NAMES, outputs, costs, loss=loss, thresholds=thresholds)


def test_the_cheapest_safe_threshold_is_chosen() -> None:
    confidence = np.repeat([0.97, 0.86, 0.65], [600, 200, 200])
    front_right = np.repeat([True, True, False], [600, 200, 200])
    made = plan(confidence, front_right, np.ones(1000, bool))
    assert made.chosen == 0.85  # of the cheapest, that to 0.7, the most careful
    by_threshold = {one.threshold: one for one in made.options}
    assert by_threshold[0.95].escalated.value == pytest.approx(0.4)
    assert by_threshold[0.7].escalated.value == pytest.approx(0.2)
    assert by_threshold[0.7].ms == pytest.approx(1 + 0.2 * 10)
    assert by_threshold[0.7].difference.value == 0
    assert by_threshold[0.6].difference.value == pytest.approx(-0.2)
    assert by_threshold[0.6].accuracy.value == pytest.approx(0.8)
    assert not by_threshold[0.6].is_safe and by_threshold[0.6].loss_bound > 0.2
    assert "takes 3.00 ms instead of 10.00" in made.why


def test_after_the_first_threshold_that_fails_none_is_safe() -> None:
    """A lower one that looks better by chance would be one look more."""
    confidence = np.repeat([0.992, 0.97], [100, 900])
    front_right = np.repeat([False, True], [100, 900])
    champion_right = np.repeat([True, False], [100, 900])
    made = plan(confidence, front_right, champion_right)
    by_threshold = {one.threshold: one for one in made.options}
    assert by_threshold[0.97].difference.value > 0 > by_threshold[0.99].difference.value
    assert not by_threshold[0.97].is_safe
    assert made.chosen in (0.999, 0.995, None)


def test_more_is_lost_than_stated_no_more_often_than_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Choosing by the estimates loses more than stated in most of these workspaces."""
    monkeypatch.setattr(cascade_plan, "_loss_bound", lambda counts, alpha: 1.0)
    rng, rows, loss = np.random.default_rng(0), 400, 0.03
    thresholds, wrong, naive = (0.9, 0.8, 0.7), 0, 0
    for _ in range(150):
        confidence = rng.choice([0.95, 0.85, 0.75, 0.4], rows, p=[0.5, 0.1, 0.1, 0.3])
        # each threshold loses a little more than stated: .031 of all images and upwards
        front_right = ~((confidence == 0.95) & (rng.random(rows) < 0.062))
        made = plan(confidence, front_right, np.ones(rows, bool), loss=loss, thresholds=thresholds)
        wrong += made.chosen is not None
        naive += any(one.difference.value >= -loss for one in made.options)
    assert wrong <= 150 * 0.05 + 5
    assert naive > 40


def test_with_few_rows_nothing_is_safe_and_how_many_are_needed_is_named() -> None:
    made = plan(np.full(40, 0.9995), np.ones(40, bool), np.ones(40, bool), loss=0.01)
    assert made.chosen is None
    assert "by 40 audit rows" in made.why and "about 300 rows" in made.why


def test_a_front_model_that_saves_nothing_is_not_chosen() -> None:
    rows = np.ones(1000, bool)
    made = plan(np.full(1000, 0.6), rows, rows, costs=Costs(10.0, 10.0))
    assert made.chosen is None and "the champion alone 10.00" in made.why


def test_a_thousand_images_cost_their_milliseconds() -> None:
    assert price(3.6, 1.0) == pytest.approx(0.001)  # 3.6 s of an hour
    made = plan(np.full(1000, 0.9995), np.ones(1000, bool), np.ones(1000, bool))
    assert made.options[0].price_of_thousand(3.6) == pytest.approx(0.001)


@pytest.mark.parametrize("loss", [0.0, 1.0, -0.1])
def test_a_loss_that_is_no_share_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, such as"):
        plan(np.full(4, 0.9), np.ones(4, bool), np.ones(4, bool), loss=loss)


def test_without_rows_the_error_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="label audit samples"):
        plan(np.empty(0), np.empty(0, bool), np.empty(0, bool))
