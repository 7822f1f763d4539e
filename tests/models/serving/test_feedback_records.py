"""Truths as clients give them: taken, or refused by name; a record reads back as it was written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.serving.feedback_records import (
    NOBODY,
    Feedback,
    FeedbackRefused,
    checked_feedback,
    fields_of_record,
    record_of,
)

ID = "0123456789abcdef" * 2
NOW = "2026-01-01T12:00:00.000000+00:00"


def check(under: str = "", **given: Any) -> Feedback:
    whole = {"prediction_id": ID, "truth": "cat", **given}
    return checked_feedback(whole, received_at=NOW, source="service", under=under)


def test_a_truth_without_more_is_weak_and_of_nobody():
    one = check()
    assert (one.who, one.source, one.strength, one.at) == (NOBODY, "service", "weak", None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"prediction_id": "7"}, "BAD_PREDICTION_ID"),
        ({"prediction_id": None}, "BAD_PREDICTION_ID"),
        ({"truth": " "}, "NO_TRUTH"),
        ({"truth": 7}, "MALFORMED"),
        ({"truth": "a\0b"}, "MALFORMED"),
        ({"truth": "a\ud800b"}, "MALFORMED"),
        ({"who": "x" * 201}, "MALFORMED"),
        ({"strength": "sure"}, "BAD_STRENGTH"),
        ({"strength": "confirmed"}, "NOBODY"),
        ({"strength": "confirmed", "who": NOBODY}, "NOBODY"),
        ({"at": "soon"}, "BAD_TIME"),
        ({"at": 7}, "BAD_TIME"),
        ({"at": "2026-01-01T14:00:00Z"}, "BAD_TIME"),
        ({"trueth": "cat"}, "UNKNOWN_FIELD"),
    ],
)
def test_what_is_no_truth_is_refused_by_name(given: dict[str, Any], reason: str):
    with pytest.raises(FeedbackRefused) as refused:
        check(**given)
    assert refused.value.reason == reason


def test_a_clock_within_the_hour_is_taken():
    assert check(at="2026-01-01T12:59:00Z").at == "2026-01-01T12:59:00.000000+00:00"


def test_a_truth_with_a_time_is_known_by_its_content_and_one_without_by_its_request():
    assert check("a", at=NOW).outcome_id == check("b", at=NOW).outcome_id
    assert check("a").outcome_id == check("a").outcome_id != check("b").outcome_id
    other = [{"who": "ada"}, {"truth": "dog"}, {"source": "shop"}, {"strength": "implicit"}]
    assert len({check(**more).outcome_id for more in [{}, *other]}) == 5


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(),
                    lambda one: st.lists(one) | st.dictionaries(st.text(), one)))  # fmt: skip
def test_any_value_is_a_truth_or_a_named_refusal(value: Any):
    for given_ in (
        value,
        {"prediction_id": ID, "truth": value},
        {"prediction_id": ID, "at": value},
    ):
        try:
            made = checked_feedback(given_, received_at=NOW, source="service")
        except FeedbackRefused as refused:
            assert refused.reason and refused.detail.encode()
        else:
            assert fields_of_record(record_of(made)) == json.loads(record_of(made))


@pytest.mark.parametrize(
    "changes",
    [{"strength": "sure"}, {"at": "soon"}, {"received_at": "soon"}, {"truth": None},
     {"prediction_id": "7"}, {"more": "x"}, {"who": "a\0b"}],
)  # fmt: skip
def test_a_record_of_another_program_is_none(changes: dict[str, Any]):
    fields = json.loads(record_of(check()))
    assert fields_of_record(json.dumps(fields | changes).encode()) is None
    assert fields_of_record(b"[]") is None and fields_of_record(b"[" * 100_000) is None
