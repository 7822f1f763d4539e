"""Learning curves whose truth is known: what is forecast of them, and what is advised."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.budget.learning_curve import (
    GO_ON,
    STOP,
    UNSURE,
    BudgetPolicy,
    CurveData,
    LearningCurve,
    advise,
    fit_curves,
    learning_curve,
)

OWN, HEAD = (1.5, 0.5, 0.02), (3.0, 0.5, 0.05)  # a, b and c of what is mistaken


def share(law: tuple[float, float, float], labels: float | np.ndarray) -> np.ndarray:
    return np.minimum(law[0] * np.asarray(labels, dtype=float) ** -law[1] + law[2], 0.9)


def evidence(seed: int, own: list[int], *, head: int = 400, rows: int = 300) -> CurveData:
    """Mistakes of models and heads on the same rows, of which some are hard for all of them."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=rows)

    def mistaken(shares: np.ndarray) -> np.ndarray:
        alone = rng.normal(size=(*shares.shape, rows))
        rank = 0.9 * hard + np.sqrt(1 - 0.9**2) * alone
        cut = np.sort(rng.normal(size=20_000))[(shares * 20_000).astype(int)]
        return rank < cut[..., None]

    lucky = share(OWN, np.array(own, dtype=float)) * np.exp(rng.normal(0, 0.1, len(own)))
    sizes = np.unique(np.geomspace(head / 16, head, 7).round().astype(int))
    return CurveData(
        own_labels=np.array(own, dtype=int),
        own_mistaken=mistaken(lucky).reshape(len(own), rows),
        head_labels=sizes,
        head_mistaken=mistaken(np.repeat(share(HEAD, sizes)[:, None], 5, axis=1)),
    )


def curve_of(law: tuple[float, float, float], labels: int, *, off: float = 0.0) -> LearningCurve:
    """A curve that is known, but for `off` of its slope either way."""
    curves = np.array([law, *((law[0] * (1 + by), *law[1:]) for by in np.linspace(-off, off, 50))])
    one = np.ones(len(curves))
    return LearningCurve(curves, one, one, unit=1.0, labels=labels, points=())


@pytest.mark.parametrize("own", [[400], [100, 200, 400], [100, 150, 200, 250, 300, 400]])
def test_the_forecast_holds_the_truth_as_often_as_its_bounds_say(own):
    truth = float(share(OWN, 400) - share(OWN, 900))
    found = [
        learning_curve(evidence(seed, own), np.random.default_rng(seed)).forecast(900)
        for seed in range(20)
    ]
    held = sum(one.gain_low <= truth <= one.gain_high for one in found)
    assert held >= 16  # fewer of 20 happen in one case of 400 where 95 % hold
    assert np.mean([one.gain for one in found]) == pytest.approx(truth, rel=0.35)
    assert all(one.low <= one.accuracy <= one.high for one in found)


def test_more_models_make_the_bounds_closer():
    wide, close = (
        learning_curve(evidence(0, own), np.random.default_rng(0)).forecast(900)
        for own in ([400], [100, 150, 200, 250, 300, 400])
    )
    assert close.gain_high - close.gain_low < wide.gain_high - wide.gain_low


def test_a_first_snapshot_without_a_model_has_a_curve_of_the_head():
    curve = learning_curve(evidence(0, []), np.random.default_rng(0))
    assert curve.labels == 400
    assert curve.forecast(400).accuracy == pytest.approx(1 - share(HEAD, 400), abs=0.04)
    assert not any(point.model for point in curve.points)


def test_the_same_seed_gives_the_same_forecast():
    one, other = (learning_curve(evidence(1, [400]), np.random.default_rng(5)) for _ in range(2))
    assert one.forecast(1000) == other.forecast(1000)


def test_models_that_never_err_leave_room_for_mistakes():
    perfect = evidence(2, [100, 200])
    perfect = replace(perfect, own_mistaken=np.zeros_like(perfect.own_mistaken))
    found = learning_curve(perfect, np.random.default_rng(0)).forecast(700)
    assert 0.9 < found.low < 1 and 0 <= found.gain < 0.02


@given(st.floats(0.01, 5), st.sampled_from([0.25, 0.5, 1.0]), st.floats(0, 0.2))
def test_the_fit_finds_the_curve_that_points_lie_on(falling, power, floor):
    counted = np.geomspace(0.05, 1, 8)
    errors = falling * counted**-power + floor
    (found,) = fit_curves(counted, errors[None], np.full(8, 1e-4))
    ahead = falling * 3.0**-power + floor
    assert found[0] * 3.0 ** -found[1] + found[2] == pytest.approx(ahead, rel=0.05, abs=1e-3)


@given(st.lists(st.floats(0.01, 0.99), min_size=5, max_size=5))
def test_a_curve_never_gets_worse_with_labels(errors):
    found = fit_curves(np.geomspace(0.1, 1, 5), np.array([errors]), np.full(5, 0.05))
    both = np.repeat(found, 2, axis=0)
    curve = LearningCurve(both, np.ones(2), np.ones(2), unit=100.0, labels=100, points=())
    assert (np.diff(curve.errors([10, 50, 100, 1000])) <= 1e-12).all()
    assert curve.forecast(1000).gain >= -1e-12


def test_a_steep_curve_says_go_on_and_a_flat_one_stop():
    assert advise(curve_of((1.5, 0.5, 0.02), 200, off=0.1), BudgetPolicy())[0] == GO_ON
    outcome, reason = advise(curve_of((1.5, 0.5, 0.02), 20_000, off=0.1), BudgetPolicy())
    assert outcome == STOP and "flat" in reason


def test_what_may_be_worth_it_or_not_is_unsure():
    law = (0.5, 0.5, 0.02)
    close = BudgetPolicy(least_gain=0.021)  # 0.02 is forecast from 200 labels to 700
    assert advise(curve_of(law, 200, off=0.3), close)[0] == UNSURE
    perhaps = curve_of(law, 200, off=1.0)
    outcome, reason = advise(perhaps, BudgetPolicy(least_gain=0.001))
    assert outcome == UNSURE and "perhaps nothing" in reason


def test_a_gain_smaller_than_forecasts_are_off_is_unsure():
    curve = curve_of((1.5, 0.5, 0.02), 200, off=0.1)
    assert advise(curve, BudgetPolicy(), usual_error=0.01)[0] == GO_ON
    outcome, reason = advise(curve, BudgetPolicy(), usual_error=0.2)
    assert outcome == UNSURE and "20.0 points" in reason


def test_a_point_that_costs_more_than_it_is_worth_is_a_reason_to_stop():
    curve = curve_of((1.5, 0.5, 0.02), 200, off=0.1)  # 500 labels add 4.9 points
    assert advise(curve, BudgetPolicy(worth=20), price=0.1)[0] == GO_ON
    outcome, reason = advise(curve, BudgetPolicy(worth=5), price=0.1)
    assert outcome == STOP and "worth 5.00" in reason
    assert advise(curve, BudgetPolicy(worth=9.8), price=0.1)[0] == UNSURE
    assert advise(curve, BudgetPolicy(worth=5))[0] == GO_ON  # without a price nothing costs


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ahead": ()}, "at least 1 item"),
        ({"ahead": (0,)}, "ahead.0 is 0; choose 1 or more"),
        ({"least_gain": 1.0}, "least_gain is 1.0"),
        ({"worth": 0}, "worth is 0"),
    ],
)
def test_a_policy_without_sense_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        BudgetPolicy(**wrong)


def test_too_few_audit_samples_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"30 are needed.*audit-share"):
        learning_curve(evidence(0, [400], rows=29), np.random.default_rng(0))


def test_mistakes_of_other_rows_are_refused():
    odd = replace(evidence(0, [400]), own_mistaken=np.ones((1, 40), dtype=bool))
    with pytest.raises(ValueError, match="do not belong to"):
        learning_curve(odd, np.random.default_rng(0))
