"""The standing audit in many lives; `benchmarks/standing_audit.py` measures more of them."""

import pytest

from benchmarks.standing_audit import play


@pytest.mark.parametrize(("pool", "truth"), [(1_000, 0.7), (1_000, 0.9)])
def test_the_figure_shown_is_unbiased_and_its_interval_holds_after_twenty_rounds(
    pool: int, truth: float
) -> None:
    row = play(pool, truth, 20, lives=400)
    report, gate = row["report"], row["gate"]
    assert abs(report["bias"]) < 3 * report["error"]
    assert report["holds"] > 0.95 - 3 * 0.011  # binomial, 400 lives
    assert gate["bias"] > 3 * gate["error"]  # a champion is too good on the rows that chose it
