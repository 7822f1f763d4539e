"""Bets on counts are worth 1 in mean while the reference is right, whatever its size."""

from typing import Any

import numpy as np
import pytest

from models.watching.scores import CELLS, Stratum, _edges, _stratum
from models.watching.urns import MOST_CORRELATION, Urn, play, urn_of

RNG = np.random.default_rng(0)
MIX = np.array([0.5, 0.5])


def stratum(rows: int, shares: np.ndarray | None = None) -> Stratum:
    """Rows of two classes that are alike, of one score."""
    shares = np.full(CELLS, 1 / CELLS) if shares is None else shares
    counts = np.stack([RNG.multinomial(rows // 2, shares)[None] for _ in range(2)]).astype(float)
    ends = np.zeros((1, CELLS))
    ends[0, [0, -1]] = 1
    pooled = counts.sum(axis=0) + ends
    return Stratum(counts, counts.sum(axis=2), pooled / pooled.sum(), ends)


@pytest.mark.parametrize("rows", [6, 40, 1000])
def test_the_wealth_of_a_life_is_at_most_one_in_mean(rows: int) -> None:
    wealths = []
    for _ in range(150):
        values = RNG.random(rows).astype(np.float32)
        edges = _edges(values[:, None])
        limits = np.isfinite(edges).sum(axis=1)
        cells, every = np.searchsorted(edges[0], values, "right")[:, None], np.ones((rows, 1), bool)
        made = _stratum(cells, every, np.ones((rows, 1)), limits)
        urn, learned, total = urn_of({"base": made}, np.ones(1), 0.0), None, np.zeros(5)
        for _ in range(5):
            drawn = np.searchsorted(edges[0], RNG.random(60), "right")
            counts = np.bincount(drawn, minlength=CELLS)[None].astype(float)
            levels, learned = play(urn, counts, learned, None)
            total += levels[:, 0]
        wealths.append(np.exp(np.minimum(total, 20)))
    assert np.mean(wealths, axis=0).max() < 3
    assert np.max(wealths) < 150 * 20  # Markov's inequality: 1 test in 20 would be above


def test_a_shift_wins_and_every_kind_of_bet_has_learned_it() -> None:
    urn, learned, levels = urn_of({"base": stratum(2000)}, MIX, 0.0), None, None
    tilted = np.exp(np.linspace(-0.5, 0.5, CELLS))
    for _ in range(6):
        counts = RNG.multinomial(200, tilted / tilted.sum())[None].astype(float)
        levels, learned = play(urn, counts, learned, levels)
    assert levels is not None
    assert (levels[:3, 0] > 5).all()
    assert levels[3, 0] < 0  # of a gross shift: this one is mild


def test_a_window_that_lies_in_one_cell_is_refused_at_once_by_a_small_reference() -> None:
    counts = np.zeros((1, CELLS))
    counts[0, -1] = 25
    levels, _ = play(urn_of({"base": stratum(40)}, MIX, 0.0), counts, None, None)
    assert levels[3, 0] > np.log(2160 * 50)  # an alarm of one score of fifty


def test_an_urn_weighs_classes_and_a_rare_class_makes_it_small() -> None:
    one, other = np.zeros(CELLS), np.zeros(CELLS)
    one[3], other[9] = 1, 1
    counts = np.stack([100 * one[None], 20 * other[None]])
    pooled = counts.sum(axis=0) / 120
    made = Stratum(counts, counts.sum(axis=2), pooled, np.zeros((1, CELLS)))
    even = urn_of({"base": made}, MIX, 0.0)
    assert even.centre[0, 9] == pytest.approx(0.4, abs=0.1)
    rare = urn_of({"base": made}, np.array([0.0, 1.0]), 0.0)
    assert rare.centre[0, 9] > 0.65
    assert rare.size[0] == pytest.approx(22)
    assert rare.correlation > even.correlation


def test_known_drift_is_mixed_in_by_its_share() -> None:
    drifted = np.full(CELLS, 0.02)
    drifted[12] = 1 - drifted.sum() + 0.02
    strata = {"base": stratum(400), "known": stratum(400, drifted)}
    shares = [urn_of(strata, MIX, share).centre[0, 12] for share in (0.0, 0.5, 1.0)]
    assert shares[0] < 0.1 < shares[1] < 0.5 < shares[2]
    assert urn_of(strata, MIX, 0.5).size[0] > urn_of(strata, MIX, 0.0).size[0]


def test_windows_that_differ_by_themselves_are_bet_on_less() -> None:
    urn, learned = urn_of({"base": stratum(2000)}, MIX, 0.0), None
    evidence = []
    for _ in range(40):
        shares = RNG.dirichlet(np.full(CELLS, 3.0))
        levels, learned = play(urn, RNG.multinomial(200, shares)[None].astype(float), learned, None)
        evidence.append(float(levels[0, 0]))
    assert learned is not None
    assert learned["correlation"][0] > 0.005
    assert np.mean(evidence[:5]) > 2 > 0.5 > np.mean(evidence[-10:])


def test_nothing_known_or_nothing_counted_is_no_evidence() -> None:
    silent = Urn(np.zeros((1, CELLS)), np.zeros(1))
    levels, _ = play(silent, np.ones((1, CELLS)), None, None)
    assert np.isnan(levels).all()
    urn = urn_of({"base": stratum(100)}, MIX, 0.0)
    none, learned = play(urn, np.zeros((1, CELLS)), None, None)
    assert none[:, 0] == pytest.approx(0, abs=1e-9)
    before: dict[str, Any] = learned
    assert play(urn, np.zeros((1, CELLS)), before, none.tolist())[0] == pytest.approx(0, abs=1e-9)


def test_what_is_not_known_of_a_class_explains_only_so_much() -> None:
    """A model that is lost calls all images one class: a shift must show nevertheless."""
    lost = urn_of({"base": stratum(6)}, np.array([1.0, 0.0]), 0.0)
    assert lost.correlation == MOST_CORRELATION
    assert urn_of({"base": stratum(2000)}, np.array([1.0, 0.0]), 0.0).correlation < 0.001
