"""Which rows are enough, and what counts as a leak."""

import pytest

from models.judging.criteria.validity import distinct, leakage, rows
from models.judging.criterion import Status
from models.judging.gate_evidence import POOL, TRAFFIC, Judged
from models.judging.verdict import GatePolicy
from tests.models.judging import cases

POLICY = GatePolicy()


@pytest.mark.parametrize(("count", "status"), [(29, Status.UNKNOWN), (30, Status.PASS)])
def test_rows_of_the_population_that_the_policy_names_are_needed(
    count: int, status: Status
) -> None:
    [pool] = rows(cases.case(cases.rows(count, (), (1,))), POLICY)
    assert (pool.status, pool.population, pool.rows) == (status, POOL, count)
    parts = {POOL: cases.rows(60, (), (1,)), TRAFFIC: cases.rows(count, (), (1,), name="served")}
    evidence = cases.case(parts[POOL], rows=parts)
    [traffic] = rows(evidence, GatePolicy(population="traffic"))
    assert (traffic.status, traffic.population, traffic.rows) == (status, TRAFFIC, count)
    assert rows(evidence, POLICY)[0].status == Status.PASS


def test_what_was_held_out_after_the_champion_was_trained_is_no_leak() -> None:
    learnt = Judged("hone:1", frozenset({"gold"}))
    [criterion] = leakage(cases.better(champion=learnt), POLICY)
    assert criterion.status == Status.PASS
    [criterion] = leakage(cases.better(challenger=Judged("hone:2", frozenset({"gold"}))), POLICY)
    assert criterion.status == Status.FAIL
    assert criterion.evidence == "the challenger was trained on 1 group held out: gold"


def test_an_answer_of_the_duel_that_a_model_was_trained_on_is_a_leak() -> None:
    answers = cases.rows(5, (), range(5), name="asked")
    learnt = Judged("hone:1", frozenset({"asked-3"}))
    [criterion] = leakage(cases.better(answers=answers, champion=learnt), POLICY)
    assert criterion.status == Status.FAIL and "the champion" in criterion.evidence


def test_two_models_are_distinct_by_version_and_by_outputs() -> None:
    [criterion] = distinct(cases.better(), POLICY)
    assert criterion.status == Status.PASS
    assert distinct(cases.case(cases.rows(40, (), None)), POLICY) == []
