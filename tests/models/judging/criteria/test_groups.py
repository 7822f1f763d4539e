"""Classes and slices: a loss is seen, many groups raise no false alarm, few rows are named."""

from dataclasses import replace

import numpy as np
import pytest

from models.judging.criteria.groups import classes_and_slices, rows_to_see
from models.judging.criterion import Criterion, Status
from models.judging.gate import decide
from models.judging.gate_evidence import TRAFFIC, Evidence, Judged, Rows, Scored
from models.judging.verdict import GatePolicy
from tests.models.judging.cases import better, case, rows

POLICY = GatePolicy()
TEN = tuple(f"c{number}" for number in range(10))


def by_name(evidence: Evidence, policy: GatePolicy = POLICY) -> dict[str, Criterion]:
    """The criterion of each class and slice."""
    return {one.population: one for one in classes_and_slices(evidence, policy)}


@pytest.mark.parametrize(("lost", "status"), [(6, Status.PASS), (7, Status.FAIL)])
def test_the_level_is_holms_over_the_groups_that_differ(lost: int, status: Status) -> None:
    cats, dogs = range(0, 3 * lost, 3), range(1, 120, 3)  # p = .0156, .0078
    slices = {"origin": ["served" if row % 2 else "ingested" for row in range(300)]}
    groups = by_name(case(rows(300, cats, dogs, slices=slices)))
    assert groups["class cat"].status == status  # cat, dog and two slices: .05 / 4 = .0125
    assert {groups[name].status for name in groups if name != "class cat"} == {Status.PASS}


def test_groups_on_which_the_models_agree_do_not_lower_the_level() -> None:
    cats, dogs = range(0, 21, 3), range(1, 120, 3)
    assert by_name(case(rows(300, cats, dogs)))["class cat"].status == Status.FAIL
    agree = {"folder": [f"{max(row, 150) // 10}" for row in range(300)]}
    assert by_name(case(rows(300, cats, dogs, slices=agree)))["class cat"].status == Status.FAIL


def test_a_loss_on_the_rows_of_one_value_of_any_column_is_seen() -> None:
    lost, won = range(24), range(30, 120)  # rows of one lens lose, the whole gains
    lenses = ["50" if row < 30 else "35" if row < 150 else None for row in range(300)]
    groups = by_name(case(rows(300, lost, won, slices={"lens": lenses})))
    assert groups["lens 50"].status == Status.FAIL and groups["lens 50"].name == "slices"
    assert {name for name in groups if name.startswith("lens")} == {"lens 50", "lens 35"}


def test_what_looks_as_if_it_fell_asks_for_a_few_more() -> None:
    pool = rows(45, (0, 3), range(1, 45, 3))  # two of 15 cats are lost, none won
    cat = by_name(case(pool))["class cat"]
    assert cat.status == Status.UNKNOWN
    assert cat.evidence.startswith("may have fallen: class cat 1.000 -> 0.867, 15 rows, p = 0.25")
    assert cat.remedy == "1 more label of class cat"
    assert by_name(case(rows(450, (0, 3), ())))["class cat"].status == Status.PASS
    assert by_name(case(rows(45, (0,), ())))["class cat"].status == Status.PASS


def test_answers_of_the_duel_count_for_the_class_of_their_truth() -> None:
    answers = rows(12, range(0, 12, 3), range(1, 12, 3), name="asked")  # four cats are lost
    pool = rows(45, (0, 3), range(1, 45, 3))
    cat = by_name(case(pool, answers=answers))["class cat"]
    assert cat.status == Status.FAIL and "15 rows and 4 answers" in cat.evidence


def test_a_group_in_both_populations_counts_once() -> None:
    pool = rows(45, range(0, 15, 3), range(1, 45, 3))
    twice = replace(case(pool), rows={"pool": pool, TRAFFIC: pool})
    assert by_name(twice) == by_name(case(pool))


def test_where_rows_are_too_few_it_says_so_and_a_strict_policy_holds() -> None:
    few = case(rows(36, (), range(36), truths=["cat"] * 31 + ["dog"] * 5))
    groups = by_name(few)
    eel = groups["class eel"]
    assert eel.status == Status.PASS and eel.evidence == (
        "cannot tell a loss of 0.2: class eel has no rows"
    )
    assert eel.remedy == "16 more labels of class eel would tell"
    assert decide(few, POLICY).outcome == "PROMOTE"
    assert decide(few, GatePolicy(strict_groups=True)).outcome == "HOLD"


def test_the_rows_that_it_asks_for_are_enough() -> None:
    more = rows_to_see(0.2, 0.0, 0.05)
    pool = rows(3 * more, (), ())
    assert "cannot tell" not in by_name(case(pool))["class cat"].evidence
    less = rows(3 * (more - 3), (), ())
    assert "cannot tell" in by_name(case(less))["class cat"].evidence


def test_slices_of_a_few_rows_and_of_all_rows_are_no_groups() -> None:
    slices = {
        "source": ["a"] * 300,
        "month": ["2026-01"] * 296 + ["2026-02"] * 4,
        "origin": ["ingest"] * 200 + ["served"] * 100,
    }
    names = set(by_name(better(rows={"pool": rows(300, (), range(60), slices=slices)})))
    assert names == {"class cat", "class dog", "class eel", "month 2026-01", "origin ingest",
                     "origin served"}  # fmt: skip


def test_without_a_champion_there_is_nothing_to_lose() -> None:
    assert classes_and_slices(case(rows(60, (), None)), POLICY) == []


def life(rng: np.random.Generator, count: int, challenger: list[float]) -> Rows:
    """Random rows of ten classes: the champion is right on .90 of each, the challenger as told.

    Both tend to be right on the same rows, as two trainings of a model are.
    """
    numbers = rng.integers(0, 10, count)
    common = rng.random(count)
    flip = rng.random((2, count)) < 0.04
    right = [(common < np.array(shares)[numbers]) ^ flipped
             for shares, flipped in zip((challenger, [0.9] * 10), flip, strict=True)]  # fmt: skip
    ids = tuple(map(str, range(count)))

    def scored(correct: np.ndarray) -> Scored:
        probs = np.zeros((count, 10), np.float32)
        probs[np.arange(count), (numbers + ~correct) % 10] = 1
        return Scored(ids, probs)

    truths = tuple(TEN[number] for number in numbers)
    return Rows(ids, ids, truths, scored(right[0]), scored(right[1]))


def held(rng: np.random.Generator, challenger: list[float], *, rows: int, answers: int) -> bool:
    """Whether a class holds this challenger, with random rows and answers on disagreements."""
    pool = life(rng, rows, challenger)
    asked = life(rng, 40 * answers, challenger)
    assert asked.champion is not None
    disagree = asked.challenger.outputs.argmax(1) != asked.champion.outputs.argmax(1)
    differ = np.flatnonzero(disagree)[:answers]
    ids = tuple(f"asked-{row}" for row in differ)
    duel = Rows(ids, ids, tuple(asked.truths[row] for row in differ),
                Scored(ids, asked.challenger.outputs[differ]),
                Scored(ids, asked.champion.outputs[differ]))  # fmt: skip
    evidence = Evidence(Judged("b"), Judged("a"), TEN, {"pool": pool}, answers=duel,
                        disagreement=float(disagree.mean()))  # fmt: skip
    return any(one.status != Status.PASS for one in classes_and_slices(evidence, POLICY))


def test_a_class_that_collapses_holds_in_95_percent_of_lives_with_100_audit_rows() -> None:
    collapsed = [0.97] * 3 + [0.45] + [0.97] * 6  # better on the whole
    rng = np.random.default_rng(13)
    caught = sum(held(rng, collapsed, rows=70, answers=25) for _ in range(100))
    assert caught >= 95
    better_on_all = sum(held(rng, [0.95] * 10, rows=70, answers=25) for _ in range(100))
    assert better_on_all <= 25  # of these a few more are asked for
