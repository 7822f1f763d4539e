"""What is retained of the traffic: a share by chance first, then what rules name, by quotas."""

import hashlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HoneError
from models.serving.retention import RetentionPolicy, in_share, retained


def row(number: int, confidence: float = 0.5, hour: int = 10, review: bool = False) -> Any:
    return SimpleNamespace(
        sample_id=hashlib.sha256(str(number).encode()).hexdigest(), confidence=confidence,
        needs_review=review, served_at=f"2026-01-31T{hour:02}:30:00.000000+00:00",
    )  # fmt: skip


def reasons(rows: list[Any], policy: RetentionPolicy, used: Counter[str] | None = None):
    counter: Counter[str] = Counter() if used is None else used
    return [why for _, why in retained(rows, policy, counter)]


def test_by_default_every_image_is_retained() -> None:
    policy = RetentionPolicy()
    assert not policy.thins and policy.days == 0
    assert reasons([row(n, 1.0) for n in range(50)], policy) == ["chance"] * 50


def test_chance_retains_its_share_of_every_kind_of_answer_and_before_the_quotas() -> None:
    policy = RetentionPolicy(random_share=0.1, per_hour=7, uncertain_below=0.9)
    rows = [row(number, confidence) for number in range(4000) for confidence in (0.2, 0.99)]
    by_chance = [
        one.confidence for one, why in retained(rows, policy, Counter()) if why == "chance"
    ]
    assert by_chance.count(0.2) == by_chance.count(0.99) == pytest.approx(400, abs=60)
    assert reasons(rows, policy).count("uncertain") == 7


@given(st.integers(0, 10**9), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_smaller_share_is_part_of_a_larger_one(number: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    name = hashlib.sha256(str(number).encode()).hexdigest()
    assert in_share(name, large) or not in_share(name, small)


def test_quotas_are_by_hour_and_by_day_and_go_on_from_what_was_used() -> None:
    policy = RetentionPolicy(random_share=1e-9, per_hour=2, per_day=5)
    rows = [row(10 * hour + n, hour=hour) for hour in range(4) for n in range(5)]
    used = Counter({"2026-01-31T00": 1, "2026-01-31": 1})
    chosen = [one.served_at[11:13] for one, _ in retained(rows, policy, used)]
    assert chosen == ["00", "01", "01", "02"]
    assert used["2026-01-31"] == 5


def test_sure_answers_go_unless_they_were_marked_and_one_copy_is_enough() -> None:
    policy = RetentionPolicy(random_share=1e-9, uncertain_below=0.8)
    assert reasons([row(1, 0.9), row(2, 0.9, review=True), row(3, 0.5), row(3, 0.5)], policy) == [
        "review", "uncertain",
    ]  # fmt: skip


def test_of_an_image_that_is_there_no_copy_is_retained_but_by_chance() -> None:
    policy = RetentionPolicy(random_share=1e-9, per_hour=1)
    rows = [row(1), row(2)]
    [(one, why)] = retained(rows, policy, Counter(), {rows[0].sample_id})
    assert (one, why) == (rows[1], "uncertain")
    [(one, why)] = retained(rows[:1], RetentionPolicy(), Counter(), {rows[0].sample_id})
    assert why == "chance"


def test_a_share_of_nothing_is_refused() -> None:
    """Nothing would be left that stands for the traffic."""
    with pytest.raises(HoneError, match=r"retention\.random_share is 0\.0; choose above 0 to 1"):
        RetentionPolicy(random_share=0.0)
