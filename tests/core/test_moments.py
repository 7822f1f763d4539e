"""Times that people and other programs write."""

import pytest

from core.moments import moment


def test_a_time_is_utc_text_whatever_its_zone() -> None:
    assert moment("2026-01-02T03:00:00+02:00") == "2026-01-02T01:00:00.000000+00:00"
    assert moment("2026-01-02") == "2026-01-02T00:00:00.000000+00:00"
    assert (moment(None), moment(" ")) == (None, None)
    with pytest.raises(ValueError, match="yesterday"):
        moment("yesterday")
