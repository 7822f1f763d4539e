"""The gate is mutation-tested: every criterion stops a challenger that no other one stops."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.intervals import Interval
from models.judging.criteria import CRITERIA
from models.judging.criterion import Criterion, Status, criterion_of
from models.judging.gate import decide
from models.judging.gate_evidence import POOL, TRAFFIC, Evidence, Judged, Scored
from models.judging.verdict import GatePolicy, Outcome, Verdict, outcome_of
from models.registry.model_card import json_value
from tests.models.judging.cases import CLASSES, ROBUST, SPEED, better, case, outputs, rows

POLICY = GatePolicy(latency_ms=50, size_mb=50, least_accuracy=0.5, class_accuracy=0.5)


def not_met(verdict: Verdict) -> set[str]:
    """The names of the criteria that are not met."""
    return {one.name for one in verdict.criteria if one.status != Status.PASS}


@dataclass(frozen=True)
class Mutant:
    """A challenger that one criterion must stop, whatever the others say."""

    stopped_by: str
    evidence: Evidence
    outcome: Outcome = Outcome.HOLD
    policy: GatePolicy = POLICY


def with_pool(evidence: Evidence, **changes: Any) -> Evidence:
    """The same evidence with changed rows of the pool."""
    return replace(evidence, rows={**evidence.rows, POOL: replace(evidence.rows[POOL], **changes)})


def nan_row() -> Evidence:
    """The challenger has no finite answer for one row."""
    pool = better().rows[POOL]
    spoilt = pool.challenger.outputs.copy()
    spoilt[7] = np.nan
    return with_pool(better(), challenger=replace(pool.challenger, outputs=spoilt))


def other_order() -> Evidence:
    """The champion was scored on the same rows in another order."""
    champion = better().rows[POOL].champion
    assert champion is not None
    turned = Scored(champion.sample_ids[::-1], champion.outputs[::-1])
    return with_pool(better(), champion=turned)


def other_population() -> Evidence:
    """Better on the pool, worse on the traffic."""
    traffic = rows(300, range(60), range(15), name="served")
    return replace(better(), rows={**better().rows, TRAFFIC: traffic})


def destroyed_class() -> Evidence:
    """All cats are wrong from row 150 on; the champion was wrong on half of the others."""
    cats = {row for row in range(150, 300) if row % 3 == 0}
    others = {row for row in range(300) if row % 3}
    return case(rows(300, cats, {row for row in others if row % 2}))


def destroyed_slice() -> Evidence:
    """Wrong on everything that was served, better elsewhere."""
    served = ["served" if row >= 276 else "ingested" for row in range(300)]
    return case(rows(300, range(276, 300), range(120), slices={"origin": served}))


def swapped_classes() -> Evidence:
    """The outputs for cats and dogs are in each other's place, as after a change of hone.toml."""
    pool = better().rows[POOL]
    swapped = pool.challenger.outputs[:, [1, 0, 2]]
    return with_pool(better(), challenger=replace(pool.challenger, outputs=swapped))


def itself() -> Evidence:
    """The champion's outputs are the challenger's: a gate that compares a model with itself."""
    return with_pool(better(), champion=better().rows[POOL].challenger)


def overconfident() -> Evidence:
    """Better than the champion, and as good as certain where it is wrong."""
    evidence = case(rows(300, range(60), range(120)))
    pool = evidence.rows[POOL]
    certain = outputs(pool.truths, np.arange(300) >= 60, sure=0.998)
    return with_pool(evidence, challenger=replace(pool.challenger, outputs=certain))


def lucky() -> Evidence:
    """Right on two rows more, of 300: chance."""
    return case(rows(300, range(15), range(2, 19)))


NOT_WORSE = replace(POLICY, mode="not-worse")
SLOW = replace(SPEED, p95_ms=80.0)
LARGE = replace(SPEED, size_mb=80.0)
FRAGILE = {**ROBUST, "noise": Interval(-0.21, -0.3, -0.1, 300)}
FRAGILE_IN_ALL = {**ROBUST, "all": Interval(-0.11, -0.2, -0.05, 300)}
MUTANTS: dict[str, Mutant] = {
    "a row without a finite answer": Mutant("rows", nan_row()),
    "another order of rows": Mutant("rows", other_order()),
    "too few rows": Mutant("rows", case(rows(29, (), range(29)))),
    "a leaked row": Mutant(
        "leakage", better(challenger=Judged("hone:2", frozenset({"row-9"}), SPEED))
    ),
    "a row that the champion was trained on": Mutant(
        "leakage", better(champion=Judged("hone:1", frozenset({"row-9"}), SPEED))
    ),
    "gold in training": Mutant(
        "leakage", better(challenger=Judged("hone:2", frozenset({"gold"}), SPEED))
    ),
    "one version twice": Mutant("distinct", better(challenger=Judged("hone:1", speed=SPEED))),
    "a lucky one": Mutant("gain", lucky(), policy=replace(POLICY, margin=0.5)),
    "a loss on the traffic": Mutant("loss", other_population()),
    "one destroyed class": Mutant(
        "classes", destroyed_class(), policy=replace(POLICY, class_accuracy=0)
    ),
    "one destroyed slice": Mutant("slices", destroyed_slice()),
    "a poor first model": Mutant(
        "first_accuracy", case(rows(300, range(150), None)), policy=GatePolicy()
    ),
    "better than a poor champion": Mutant(
        "least_accuracy", case(rows(300, range(120), range(290))),
        policy=replace(POLICY, least_accuracy=0.7),
    ),
    "a class that nobody can do": Mutant(
        "class_accuracy", case(rows(300, range(0, 300, 3), [*range(0, 300, 3), *range(1, 300, 3)]))
    ),
    "overconfident": Mutant("calibration", overconfident()),
    "fragile": Mutant("robustness", better(robustness=FRAGILE)),
    "fragile in all": Mutant("robustness", better(robustness=FRAGILE_IN_ALL)),
    "nobody looked at corrupted images": Mutant("robustness", better(robustness=None)),
    "slow": Mutant("latency", better(challenger=Judged("hone:2", speed=SLOW))),
    "large": Mutant("size", better(challenger=Judged("hone:2", speed=LARGE))),
}  # fmt: skip


def test_a_true_improvement_passes() -> None:
    verdict = decide(better(), POLICY)
    assert not_met(verdict) == set()
    assert verdict.outcome == "PROMOTE"
    assert verdict.reasons[0].startswith("better by the audit; pool: only the challenger")


def test_the_margin_is_for_all_corruptions_and_twice_it_for_one() -> None:
    """Networks that are trained alike often differ by the margin under one kind."""
    lost = {**ROBUST, "noise": Interval(-0.19, -0.3, -0.1, 300)}
    assert decide(better(robustness=lost), POLICY).outcome == Outcome.PROMOTE


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_stopped_by_exactly_one_criterion(name: str) -> None:
    mutant = MUTANTS[name]
    verdict = decide(mutant.evidence, mutant.policy)
    assert not_met(verdict) == {mutant.stopped_by}
    assert verdict.outcome == mutant.outcome


def test_every_criterion_has_a_mutant() -> None:
    named = {"groups": {"classes", "slices"}}
    stopping = {mutant.stopped_by for mutant in MUTANTS.values()}
    for name in CRITERIA:
        assert named.get(name, {name}) <= stopping


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "rows"])
def test_without_its_criterion_a_mutant_is_promoted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"classes", "slices"} if name == "groups" else {name}
    monkeypatch.delitem(CRITERIA, name)
    mutants = [mutant for mutant in MUTANTS.values() if mutant.stopped_by in names]
    assert {decide(one.evidence, one.policy).outcome for one in mutants} == {"PROMOTE"}


def test_clearly_worse_is_rejected() -> None:
    verdict = decide(case(rows(300, range(60), range(15))), GatePolicy())
    assert verdict.outcome == "REJECT"
    assert verdict.reasons[0].startswith("worse on the pool")


def test_swapped_classes_are_rejected() -> None:
    verdict = decide(swapped_classes(), GatePolicy())
    assert verdict.outcome == "REJECT"
    assert {"gain", "classes"} <= not_met(verdict)


@pytest.mark.parametrize("mode", ["better", "not-worse"])
def test_a_model_compared_with_itself_is_held(mode: Any) -> None:
    verdict = decide(itself(), GatePolicy(mode=mode, margin=0.5))
    assert verdict.outcome == "HOLD" and "distinct" in not_met(verdict)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["better", "not-worse"]))
def test_a_challenger_that_is_the_champion_is_never_promoted(seed: int, mode: Any) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), 80)
    truths = rng.choice(CLASSES, 80).tolist()
    pool = rows(80, (), (), truths=truths)
    scored = replace(pool.challenger, outputs=probs)
    evidence = case(replace(pool, challenger=scored, champion=scored))
    assert decide(evidence, GatePolicy(mode=mode)).outcome == "HOLD"


def with_row(probs: np.ndarray, value: float) -> np.ndarray:
    """The outputs with one row of this value."""
    return np.where(np.arange(len(probs))[:, None] == 7, value, probs)


SPOILS: list[tuple[Callable[[np.ndarray], np.ndarray], str]] = [
    (lambda probs: with_row(probs, np.inf), "no finite answer for 1 of 300"),
    (lambda probs: with_row(probs, 0.9), "no probabilities"),
    (lambda probs: probs[:-1], "(299, 3); (300, 3) is needed"),
    (lambda probs: probs[:, :2], "(300, 2)"),
    (lambda probs: probs[:0], "(0, 3)"),
]  # fmt: skip


@pytest.mark.parametrize("who", ["challenger", "champion"])
@pytest.mark.parametrize(("spoil", "sentence"), SPOILS)
def test_broken_outputs_of_either_model_are_held(
    who: str, spoil: Callable[[np.ndarray], np.ndarray], sentence: str
) -> None:
    scored = getattr(better().rows[POOL], who)
    broken = replace(scored, outputs=spoil(scored.outputs))
    verdict = decide(with_pool(better(), **{who: broken}), POLICY)
    assert verdict.outcome == "HOLD"
    assert verdict.reasons[0].startswith(who) and sentence in verdict.reasons[0]


def test_rows_that_are_no_evidence_are_held() -> None:
    pool = better().rows[POOL]
    for strange in (None, "cow", float("nan")):
        verdict = decide(with_pool(better(), truths=(strange, *pool.truths[1:])), POLICY)
        assert verdict.outcome == "HOLD" and "no class" in verdict.reasons[0]
    twice = with_pool(better(), group_ids=("row-1", *pool.group_ids[1:]))
    assert "299 groups" in decide(twice, POLICY).reasons[0]
    short = with_pool(better(), slices={"origin": ["ingest"]})
    assert "not one for each" in decide(short, POLICY).reasons[0]
    other = with_pool(better(), champion=Scored(("a",) * 300, pool.challenger.outputs))
    assert "for other rows" in decide(other, POLICY).reasons[0]
    none = replace(better(), rows={})
    assert "0 gate rows of the pool; 30 are needed" in decide(none, POLICY).reasons[0]


def test_the_numbers_of_a_verdict_are_json_and_read_back() -> None:
    for mutant in [*MUTANTS.values(), Mutant("", better())]:
        verdict = decide(mutant.evidence, mutant.policy)
        text = json.dumps(verdict.metrics, allow_nan=False)
        again = json.loads(text)
        assert again == json_value(verdict.metrics)
        assert tuple(map(criterion_of, again["criteria"])) == verdict.criteria


def test_figures_are_those_of_the_rows() -> None:
    metrics = decide(better(), POLICY).metrics
    assert metrics["rows"] == 300 and metrics["population"] == POOL
    assert metrics["challenger_accuracy"] == pytest.approx(0.95)
    assert metrics["champion_accuracy"] == pytest.approx(0.8)
    assert metrics["difference"] == pytest.approx(0.15)
    assert (metrics["only_challenger_right"], metrics["only_champion_right"]) == (45, 0)


def test_the_outcome_follows_from_the_criteria() -> None:
    def one(status: Status, *, rejects: bool = False) -> Criterion:
        return Criterion("a", status, "because", rejects=rejects)

    passed, failed, unknown = one(Status.PASS), one(Status.FAIL), one(Status.UNKNOWN)
    assert outcome_of(()) == "HOLD"
    assert outcome_of((passed, one(Status.PASS, rejects=True))) == "PROMOTE"
    assert outcome_of((passed, failed)) == outcome_of((passed, unknown)) == "HOLD"
    assert outcome_of((unknown, one(Status.FAIL, rejects=True))) == "REJECT"
    assert outcome_of((one(Status.UNKNOWN, rejects=True),)) == "HOLD"


@pytest.mark.parametrize(
    "given", [{"alpha": 0}, {"alpha": 0.6}, {"margin": 0}, {"margin": 1}, {"min_gain": -0.1},
              {"min_rows": 0}, {"life_alpha": 0}, {"first_accuracy": 1}, {"class_margin": 0},
              {"latency_ms": -1}, {"mode": "worse"}, {"population": "all"}],
)  # fmt: skip
def test_a_bad_policy_is_refused_with_its_name(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name} is .*; choose"):
        GatePolicy(**given)
