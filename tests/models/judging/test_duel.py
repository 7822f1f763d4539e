"""Every end of a duel, and that nothing but evidence promotes."""

import json
from dataclasses import asdict, replace

from models.judging.alpha_spending import alpha_of
from models.judging.duel import Counts, DuelPlan, DuelState, Stratum, duel_state
from models.judging.evidence import Mode
from models.judging.verdict import Outcome

POOL, TRAFFIC = Stratum("pool", 5000, 450), Stratum("traffic", 1000, 600)
PLAN = DuelPlan(
    number=1,
    alpha=alpha_of(1),
    mode=Mode.BETTER,
    margin=0.02,
    min_gain=0.0,
    most_answers=400,
    strata=(POOL,),
)
BOTH = replace(PLAN, strata=(POOL, TRAFFIC))
NOT_WORSE = replace(PLAN, mode=Mode.NOT_WORSE)


def state(plan: DuelPlan, *counts: tuple[int, ...]) -> DuelState:
    """Where a duel of the plan stands with wins, ties, losses and doubtful answers of each."""
    populations = [stratum.population for stratum in plan.strata]
    return duel_state(plan, {name: Counts(*c) for name, c in zip(populations, counts, strict=True)})


def test_without_answers_a_duel_goes_on() -> None:
    at_first = duel_state(PLAN, {})
    assert at_first.outcome is None
    assert at_first.likely is None
    assert at_first.expected_answers == 400
    assert at_first.next_answers == {"pool": True}
    assert (at_first.spent, at_first.left) == (0.030396355, 0.019603645)


def test_a_clear_gain_promotes_and_a_promotion_needs_all_of_its_evidence() -> None:
    assert state(PLAN, (12, 3, 1)).outcome == Outcome.PROMOTE
    assert state(PLAN, (10, 3, 3)).outcome is None
    twentieth = replace(PLAN, number=20, alpha=alpha_of(20))
    assert state(twentieth, (12, 3, 1)).outcome is None
    assert state(replace(PLAN, min_gain=0.05), (12, 3, 1)).outcome is None
    assert state(replace(PLAN, min_gain=0.05), (60, 3, 1)).outcome == Outcome.PROMOTE


def test_a_loss_rejects_and_an_even_score_holds() -> None:
    assert state(PLAN, (1, 3, 12)).outcome == Outcome.REJECT
    even = state(PLAN, (60, 10, 80))
    assert even.outcome == Outcome.HOLD
    assert "no gain of 0.005 or more is in prospect" in even.reasons[0]


def test_doubtful_answers_cost_but_are_no_evidence() -> None:
    without, doubtful = state(PLAN, (6, 1, 3)), state(PLAN, (6, 1, 3, 20))
    assert doubtful.answers == without.answers + 20
    assert doubtful.populations["pool"].gain == without.populations["pool"].gain
    assert doubtful.log_evidence == without.log_evidence
    skipped = state(NOT_WORSE, (0, 0, 0, 399))
    assert skipped.outcome is None
    assert state(NOT_WORSE, (0, 0, 0, 400)).outcome == Outcome.HOLD


def test_the_budget_and_the_last_disagreement_end_a_duel() -> None:
    assert (
        "not decided by 40 answers" in state(replace(PLAN, most_answers=40), (22, 1, 17)).reasons[0]
    )
    few = replace(PLAN, strata=(Stratum("pool", 100, 9),))
    ended = state(few, (4, 2, 3))
    assert ended.outcome == Outcome.HOLD
    assert "all disagreements" in ended.reasons[0]
    alike = duel_state(replace(PLAN, strata=(Stratum("pool", 5000, 0),)), {})
    assert alike.outcome == Outcome.HOLD
    assert "answer alike" in alike.reasons[0]


def test_the_last_look_is_an_exact_test_of_what_will_not_grow() -> None:
    plan = replace(PLAN, number=9, alpha=alpha_of(9))
    few = replace(plan, strata=(Stratum("pool", 900, 40),))
    assert state(plan, (33, 0, 7)).outcome is None
    assert state(few, (33, 0, 7)).outcome == Outcome.PROMOTE
    assert state(few, (32, 0, 7)).outcome is None  # one is left
    assert state(few, (31, 0, 9)).outcome == Outcome.HOLD
    budget = replace(plan, most_answers=40)
    assert state(budget, (33, 0, 7)).outcome == Outcome.PROMOTE
    assert state(replace(budget, min_gain=0.01), (33, 0, 7)).outcome == Outcome.HOLD


def test_doubtful_answers_count_against_the_challenger_at_the_last_look() -> None:
    few = replace(NOT_WORSE, strata=(Stratum("pool", 2000, 60),))
    assert state(few, (20, 0, 22, 18)).outcome == Outcome.HOLD
    assert state(few, (26, 8, 26)).outcome == Outcome.PROMOTE


def test_better_on_drifted_traffic_promotes_when_the_pool_loses_no_margin() -> None:
    gained = state(BOTH, (5, 1, 5), (20, 3, 2))
    assert gained.outcome is None
    assert gained.next_answers == {"pool": True, "traffic": False}
    assert state(BOTH, (140, 15, 140), (20, 3, 2)).outcome == Outcome.PROMOTE


def test_a_gain_on_the_traffic_does_not_excuse_the_loss_of_the_margin_on_the_pool() -> None:
    mixed = state(BOTH, (2, 1, 40), (20, 3, 2))
    assert mixed.outcome == Outcome.HOLD
    assert "may gain elsewhere" in mixed.reasons[0]
    assert state(BOTH, (2, 1, 40), (6, 3, 30)).outcome == Outcome.REJECT


def test_a_few_served_samples_hold_nothing_up_unless_they_show_a_loss() -> None:
    assert PLAN.fewest_scored == 287
    few = replace(PLAN, strata=(POOL, Stratum("traffic", 40, 20)))
    assert state(few, (20, 3, 1), (1, 0, 1)).outcome == Outcome.PROMOTE
    assert state(few, (20, 3, 1), (0, 0, 9)).outcome != Outcome.PROMOTE
    assert state(few, (3, 0, 3), (14, 0, 0)).next_answers["pool"]  # its loss is to be excluded
    enough = replace(few, strata=(POOL, Stratum("traffic", 400, 36)))
    assert state(enough, (20, 3, 1), (1, 0, 1)).outcome is None
    not_worse = replace(few, mode=Mode.NOT_WORSE)
    assert state(not_worse, (140, 15, 140), (1, 0, 1)).outcome is None


def test_small_gains_on_both_populations_add_up() -> None:
    alone = replace(PLAN, strata=(POOL,))
    assert state(alone, (22, 2, 12)).outcome is None
    assert (
        state(BOTH, (22, 2, 12), (22, 2, 12)).log_evidence > state(alone, (22, 2, 12)).log_evidence
    )


def test_not_worse_needs_no_gain_but_the_margin() -> None:
    assert state(NOT_WORSE, (140, 15, 140)).outcome == Outcome.PROMOTE
    assert state(PLAN, (140, 15, 140)).outcome != Outcome.PROMOTE
    assert state(NOT_WORSE, (10, 10, 10)).outcome is None
    assert state(NOT_WORSE, (5, 1, 40)).outcome == Outcome.REJECT
    close = replace(NOT_WORSE, strata=(Stratum("pool", 5000, 40),))
    assert duel_state(close, {}).outcome == Outcome.PROMOTE  # 2 points cannot be lost


def test_the_share_of_disagreements_is_bounded_from_few_samples() -> None:
    low, high = Stratum("pool", 200, 18).share_bounds(0.025)
    assert low < 0.06 < 0.13 < high
    assert Stratum("pool", 200, 0).share_bounds(0.025)[0] == 0
    assert Stratum("pool", 200, 200).share_bounds(0.025)[1] == 1
    few = replace(NOT_WORSE, strata=(Stratum("pool", 200, 18),))
    evidence = [
        state(plan, (60, 9, 60)).populations["pool"].log_evidence_of_safety or 0
        for plan in (few, NOT_WORSE)
    ]
    assert evidence[0] < evidence[1]


def test_a_projection_says_where_the_answers_lead() -> None:
    winning = state(PLAN, (14, 2, 7))
    assert winning.likely == Outcome.PROMOTE
    assert 23 < winning.expected_answers < 150
    assert state(PLAN, (7, 2, 11)).likely in (Outcome.REJECT, Outcome.HOLD)


def test_the_state_is_json_and_the_same_every_time() -> None:
    first = json.dumps(asdict(state(BOTH, (9, 1, 4), (3, 0, 3))), allow_nan=False)
    assert first == json.dumps(asdict(state(BOTH, (9, 1, 4), (3, 0, 3))), allow_nan=False)


def test_the_share_of_a_population_that_was_scored_wholly_is_not_in_doubt() -> None:
    """After a drift the models may differ on two images of the pool: nobody can lose more there."""
    traffic = Stratum("traffic", 301, 124)
    counts = {"pool": Counts(losses=2), "traffic": Counts(wins=20, ties=1, losses=2)}
    outcomes = {}
    for whole in (False, True):
        pool = Stratum("pool", 646, 2, whole=whole)
        plan = DuelPlan(
            number=4, alpha=alpha_of(4), mode=Mode.BETTER, margin=0.02, min_gain=0.0,
            most_answers=400, strata=(pool, traffic),
        )  # fmt: skip
        state = duel_state(plan, counts)
        outcomes[whole] = state.outcome
        assert state.populations["pool"].safe == whole
    assert outcomes == {False: Outcome.HOLD, True: Outcome.PROMOTE}
    assert Stratum("pool", 646, 2, whole=True).share_bounds(0.01) == (2 / 646, 2 / 646)
