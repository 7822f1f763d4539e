import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from labeling.strategies import design
from labeling.strategies.design import Design


def naive(
    size: int, points: np.ndarray, weights: np.ndarray, known: np.ndarray, wanted: np.ndarray
) -> tuple[list[int], list[float]]:
    """The greedy choice by its definition: every matrix inverted anew for every row."""

    def variance(matrices: np.ndarray) -> float:
        return float(np.trace(np.linalg.solve(matrices, wanted), axis1=1, axis2=2).sum())

    def labelled(matrices: np.ndarray, row: int) -> np.ndarray:
        return matrices + weights[:, row, None, None] * np.outer(points[row], points[row])

    picks, shares, first = [], [], variance(known)
    for _ in range(size):
        left = {row: variance(labelled(known, row)) for row in range(len(points))}
        best = min((row for row in left if row not in picks), key=lambda row: left[row])
        shares.append((variance(known) - left[best]) / first)
        known = labelled(known, best)
        picks.append(best)
    return picks, shares


def drawn(rows: int, models: int, seed: int, width: int = 5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(rows, width)) * rng.exponential(size=width)
    weights = rng.random((models, rows))
    others = rng.normal(size=(models, 12, width))
    wanted = np.einsum("kni,knj->kij", others, others)
    return points, weights, np.stack([0.1 * np.eye(width)] * models), wanted


@settings(max_examples=25, deadline=None)
@given(
    rows=some.integers(2, 40), models=some.integers(1, 3), seed=some.integers(0, 99),
    best=some.sampled_from([1, 3, 2048]), ahead=some.sampled_from([1, 2, 32]),
)  # fmt: skip
def test_the_choice_is_the_naive_one_however_few_rows_are_looked_at_between(
    rows: int, models: int, seed: int, best: int, ahead: int
) -> None:
    given_ = drawn(rows, models, seed)
    size = min(rows, 15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, "BEST", best)
        patch.setattr(design, "AHEAD", ahead)
        picks, shares = Design(*given_).choose(size)
    naive_picks, naive_shares = naive(size, *given_)
    assert len(set(picks.tolist())) == size
    assert shares == pytest.approx(naive_shares, abs=1e-5)  # where two are as good, either
    if rows == 40:
        assert picks[:8].tolist() == naive_picks[:8]


def test_picks_that_a_row_outside_would_beat_are_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(design, "BEST", 1)
    points, weights, known, wanted = drawn(30, 1, 0)
    copies = np.repeat(points, 3, axis=0), np.repeat(weights, 3, axis=1)
    chosen = Design(*copies, known, wanted).choose(9)[0]
    assert (
        np.sort(chosen // 3) == np.sort(np.array(naive(9, *copies, known, wanted)[0]) // 3)
    ).all()


@pytest.mark.parametrize(("models", "off"), [(1, 1e-6), (2, 1e-3)])
def test_the_matrices_are_those_of_all_that_was_chosen(models: int, off: float) -> None:
    points, weights, known, wanted = drawn(200, models, 3)
    made = Design(points, weights, known, wanted)
    rows = made.choose(70)[0]
    after = known + np.einsum("kn,ni,nj->kij", weights[:, rows], points[rows], points[rows])
    inverse = np.linalg.inv(after)
    spread = inverse @ wanted @ inverse
    assert np.abs(made.inverse - inverse).max() < off * np.abs(inverse).max()
    assert np.abs(made.spread - spread).max() < off * np.abs(spread).max()


def test_more_than_there_are_gives_all_that_there_are() -> None:
    picks, shares = Design(*drawn(4, 1, 0)).choose(9)
    assert sorted(picks.tolist()) == [0, 1, 2, 3]
    assert (shares >= 0).all()
