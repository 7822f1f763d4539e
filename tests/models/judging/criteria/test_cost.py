"""Latency and size: shown without a budget, held above one, and held where nothing was measured."""

from dataclasses import replace

import pytest

from models.judging.criteria.cost import latency, size
from models.judging.criterion import Status
from models.judging.gate_evidence import Evidence, Judged
from models.judging.verdict import GatePolicy
from tests.models.judging.cases import better


@pytest.mark.parametrize(
    ("budget", "status"), [(0, Status.PASS), (10, Status.PASS), (9, Status.FAIL)]
)
def test_a_budget_is_for_95_of_100_images(budget: float, status: Status) -> None:
    [criterion] = latency(better(), GatePolicy(latency_ms=budget))
    assert (criterion.status, criterion.value, criterion.rows) == (status, 10.0, 60)
    assert criterion.threshold == (budget or None)


@pytest.mark.parametrize(
    ("budget", "status"), [(0, Status.PASS), (5, Status.PASS), (4, Status.FAIL)]
)
def test_a_budget_is_for_the_weights(budget: float, status: Status) -> None:
    [criterion] = size(better(), GatePolicy(size_mb=budget))
    assert (criterion.status, criterion.value) == (status, 5.0)


def test_what_was_not_measured_is_held_only_where_there_is_a_budget() -> None:
    unknown: Evidence = replace(better(), challenger=Judged("hone:2"))
    assert latency(unknown, GatePolicy()) == size(unknown, GatePolicy()) == []
    for [criterion] in (latency(unknown, GatePolicy(latency_ms=9)),
                        size(unknown, GatePolicy(size_mb=9))):  # fmt: skip
        assert criterion.status == Status.UNKNOWN and "not measured" in criterion.evidence
