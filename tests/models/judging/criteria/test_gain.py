"""A gain is shown or not: by the audit at this test's part of the life's alpha, or by a duel."""

import math

import pytest

from models.judging.alpha_spending import alpha_of
from models.judging.criteria.gain import gain, loss
from models.judging.criterion import Criterion, Status
from models.judging.duel import Counts, DuelPlan, Stratum, duel_state
from models.judging.evidence import Mode
from models.judging.gate import decide
from models.judging.gate_evidence import POOL, TRAFFIC, Evidence
from models.judging.verdict import GatePolicy
from tests.models.judging.cases import better, case, rows

POLICY = GatePolicy()
BOTH = "pool and traffic"


def duel(counts: dict[str, Counts], mode: str = "better") -> Evidence:
    """An improvement that the rows do not show, with the answers of a duel."""
    strata = tuple(Stratum(name, 5000, 500) for name in counts)
    plan = DuelPlan(1, alpha_of(1), Mode(mode), 0.02, 0.0, 400, strata)
    parts = {name: rows(40, (), (), name=name) for name in counts}
    return case(parts[POOL], rows=parts, duel=duel_state(plan, counts))


def statuses(criteria: list[Criterion]) -> dict[str, Status]:
    """The status for each population."""
    return {one.population: one.status for one in criteria}


@pytest.mark.parametrize(("number", "status"), [(1, Status.PASS), (2, Status.UNKNOWN)])
def test_each_test_of_a_life_has_a_smaller_part_of_alpha(number: int, status: Status) -> None:
    evidence = case(rows(90, (), range(6)), number=number)  # p = 1 / 64 = .0156 of .0304, .0076
    [criterion] = gain(evidence, POLICY)
    assert criterion.status == status
    assert criterion.threshold == pytest.approx(-math.log(alpha_of(number)))


def test_populations_share_the_part() -> None:
    one = rows(90, (), range(6))
    two = {POOL: one, TRAFFIC: rows(90, (), (), name="served")}
    assert statuses(gain(case(one, rows=two), POLICY)) == {BOTH: Status.UNKNOWN}
    alone = GatePolicy(population="pool")
    assert statuses(gain(case(one, rows=two), alone)) == {POOL: Status.PASS}


def test_better_on_the_traffic_is_enough_without_a_loss_on_the_pool() -> None:
    parts = {POOL: rows(600, (1,), (1,)), TRAFFIC: rows(50, (), range(30), name="served")}
    evidence = case(parts[POOL], rows=parts)
    assert statuses(gain(evidence, POLICY)) == {BOTH: Status.PASS}
    assert statuses(loss(evidence, POLICY)) == {POOL: Status.PASS, TRAFFIC: Status.PASS}
    few = {**parts, POOL: rows(60, (1,), (1,))}
    assert statuses(loss(case(few[POOL], rows=few), POLICY))[POOL] == Status.UNKNOWN


def test_a_required_gain_is_required() -> None:
    [criterion] = gain(case(rows(300, (), range(15))), GatePolicy(min_gain=0.06))
    assert criterion.status == Status.UNKNOWN
    assert criterion.evidence.startswith("no gain")
    assert decide(case(rows(300, (), range(15))), GatePolicy(min_gain=0.04)).outcome == "PROMOTE"


def test_not_worse_asks_for_no_gain_and_for_no_loss() -> None:
    policy = GatePolicy(mode="not-worse", margin=0.05)
    assert decide(case(rows(300, (1, 2), (4, 5))), policy).outcome == "PROMOTE"
    assert decide(case(rows(60, (1, 2), (4, 5))), policy).outcome == "HOLD"
    lost = decide(case(rows(300, range(30), (4, 5))), policy)
    assert lost.outcome == "REJECT" and "worse on the pool" in lost.reasons[0]


def test_a_duel_decides_in_place_of_the_audit() -> None:
    evidence = duel({POOL: Counts(wins=60, ties=2, losses=10)})
    assert statuses(gain(evidence, POLICY)) == {POOL: Status.PASS}
    assert statuses(loss(evidence, POLICY)) == {POOL: Status.PASS}
    assert decide(evidence, POLICY).outcome == "PROMOTE"
    rejected = decide(duel({POOL: Counts(wins=2, ties=2, losses=40)}), POLICY)
    assert rejected.outcome == "REJECT" and rejected.reasons[0].startswith("worse on the pool")


def test_a_duel_under_way_says_how_many_answers_are_missing() -> None:
    evidence = duel({POOL: Counts(wins=13, ties=2, losses=6)})
    [criterion] = gain(evidence, POLICY)
    assert criterion.status == Status.UNKNOWN
    assert criterion.remedy.startswith("about ") and "more answers to the duel" in criterion.remedy
    assert decide(evidence, POLICY).outcome == "HOLD"


def test_a_duel_won_on_the_traffic_with_a_loss_on_the_pool_is_held() -> None:
    counts = {POOL: Counts(wins=5, losses=40), TRAFFIC: Counts(wins=60, losses=5)}
    evidence = duel(counts)
    assert statuses(loss(evidence, POLICY))[POOL] == Status.FAIL
    assert decide(evidence, POLICY).outcome == "HOLD"


def test_a_significant_loss_on_the_gate_rows_holds_whatever_a_duel_shows() -> None:
    evidence = duel({POOL: Counts(wins=60, ties=2, losses=10)})
    lost = case(rows(90, range(20), ()), duel=evidence.duel)
    assert statuses(loss(lost, POLICY)) == {POOL: Status.FAIL}
    assert decide(lost, POLICY).outcome == "HOLD"


def test_without_a_champion_nothing_is_gained_or_lost() -> None:
    first = case(rows(60, (), None))
    assert gain(first, POLICY) == loss(first, POLICY) == []
    assert "number" not in decide(first, POLICY).metrics
    assert decide(better(number=3), POLICY).metrics["number"] == 3
