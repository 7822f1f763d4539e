"""Exact tests keep their error: the gain by McNemar, the margin for every share that may differ."""

import numpy as np
import pytest
from scipy.stats import binomtest

from models.judging.exact_tests import gain_p, loss_p


def test_the_gain_is_tested_by_the_exact_one_sided_test() -> None:
    assert gain_p(9, 2) == pytest.approx(binomtest(9, 11, alternative="greater").pvalue)
    assert gain_p(0, 0) == 1


def test_without_rows_or_without_differing_ones_the_margin_decides() -> None:
    assert loss_p(0, 0, 0, margin=0.02, alpha=0.05) == 1
    assert loss_p(0, 50, 0, margin=0.02, alpha=0.05) > 0.3
    assert loss_p(0, 500, 0, margin=0.02, alpha=0.05) <= 0.05


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
@pytest.mark.parametrize("rows", [50, 150])
def test_a_loss_of_the_margin_passes_no_oftener_than_alpha(share: float, rows: int) -> None:
    rng, alpha = np.random.default_rng(rows), 0.05
    chances = [(share - 0.02) / 2, 1 - share, (share + 0.02) / 2]
    drawn, times = np.unique(rng.multinomial(rows, chances, size=600), axis=0, return_counts=True)
    passed = sum(
        count
        for parts, count in zip(drawn, times, strict=True)
        if loss_p(*parts.tolist(), margin=0.02, alpha=alpha) <= alpha
    )
    assert passed / 600 <= 0.07
