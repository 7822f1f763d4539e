"""Rows of a trial become observations: paired, one for each source and block."""

from typing import Any

import pandas as pd
import pytest

from models.rollout.observations import observations
from models.rollout.policy import ReleasePolicy
from models.rollout.store import ANSWER_COLUMNS, shadow_records

POLICY = ReleasePolicy(slower=2.0)
TRUTHS = ["number", "truth", "served_at", "source", "served_label", "label"]


def at(second: float) -> str:
    return f"2026-01-01T00:00:{second:09.6f}+00:00"


def answer(second: float, **changes: Any) -> dict[str, Any]:
    usual = {"seq": 1, "sample_id": "s", "source": None, "served_at": at(second),
             "served_label": "cat", "served_review": False, "label": "cat",
             "needs_review": False, "error": None}  # fmt: skip
    return usual | changes


def record(second: float, **changes: Any) -> dict[str, Any]:
    counts = {column.name: 0 for column in shadow_records.c}
    return counts | {"at": at(second), "timings": []} | changes


def observed(
    answers: list[dict[str, Any]] | None = None,
    records: list[dict[str, Any]] | None = None,
    truths: list[dict[str, Any]] | None = None,
) -> dict[str, list[float]]:
    return observations(
        pd.DataFrame(records or [], columns=shadow_records.c.keys()),
        pd.DataFrame(answers or [], columns=list(ANSWER_COLUMNS)),
        pd.DataFrame(truths or [], columns=TRUTHS),
        POLICY,
    )


def test_nothing_recorded_is_nothing_observed() -> None:
    assert set(map(tuple, observed().values())) == {()}


def test_what_one_source_sent_in_ten_seconds_is_one_observation() -> None:
    made = observed([
        answer(1), answer(2, label="dog", needs_review=True), answer(11),
        answer(3, source="north", label="dog"),
    ])  # fmt: skip
    assert sorted(made["disagreement"]) == [0, 0.5, 1]
    assert sorted(made["abstentions"]) == [0, 0, 0.5]
    assert made["errors"] == [0, 0, 0]


def test_a_failure_is_an_error_and_says_nothing_else() -> None:
    failed = answer(1, label=None, needs_review=None, error="no")
    made = observed([failed])
    assert (made["errors"], made["disagreement"], made["abstentions"]) == ([1], [], [])


def test_errors_of_a_canary_are_compared_where_both_models_answered() -> None:
    both = record(1, champion_answered=8, champion_failed=2, challenger_answered=1,
                  challenger_failed=1)  # fmt: skip
    worker = record(2, challenger_answered=2)  # another worker in the same ten seconds
    alone = record(11, challenger_failed=5)
    made = observed(records=[both, worker, alone])
    assert made["errors"] == pytest.approx([1 / 4 - 2 / 10])
    beside = observed([answer(1, label=None, error="no"), answer(12)], [both, worker, alone])
    assert beside["errors"] == pytest.approx([1 / 4 - 2 / 10, 0])


def test_times_are_within_what_is_allowed_or_not() -> None:
    slow, fine = [[0.1, 0.3], [0.1, 0.3]], [[0.1, 0.19]]
    made = observed(records=[record(1, timings=slow), record(11, timings=fine)])
    assert made["latency"] == [1, -1]


def test_truths_say_which_of_the_two_was_right() -> None:
    row = {"number": 1, "source": None, "served_label": "cat", "label": "dog"}
    truths = [
        row | {"truth": "cat", "served_at": at(1)},
        row | {"truth": "dog", "served_at": at(11)},
        row | {"truth": "eel", "served_at": at(21)},
    ]
    assert observed(truths=truths)["outcomes"] == [1, -1, 0]
