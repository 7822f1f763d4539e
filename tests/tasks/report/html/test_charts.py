"""Numbers at the axes and titles of charts."""

import pytest

from tasks.report.html.charts import short_number


@pytest.mark.parametrize(
    ("value", "text"),
    [(1200, "1,200"), (45_000, "45k"), (3.2e6, "3.2M"), (0.025, "0.025"), (float("nan"), "-")],
)
def test_a_number_is_short_and_none_is_a_dash(value: float, text: str) -> None:
    assert short_number(value) == text
