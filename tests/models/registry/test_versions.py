"""Versions and verdicts: each judgement is recorded once, and counts once."""

import pytest
from sqlalchemy import Engine, func, select

from models.judging.verdict import Outcome, Verdict
from models.registry.versions import (
    PROMOTE,
    evidence_number,
    find_model,
    record_verdict,
    verdict_on,
    verdicts,
)
from tests.models.registry.named_models import A, B, C, judge


def counted(engine: Engine, challenger: str, against: str | None, rows: str = "f") -> int:
    return evidence_number(engine, challenger=challenger, champion=against, rows_fingerprint=rows)


def test_each_judgement_of_a_gain_has_a_number_of_its_own(engine: Engine) -> None:
    assert counted(engine, B, A) == 1
    for number, challenger in enumerate((B, C), start=1):
        metrics = {"number": number, "policy": {"alpha": 0.05}}
        verdict = Verdict(Outcome.HOLD, ["because"], metrics)
        record_verdict(engine, challenger=challenger, champion=A, snapshot="s",
                       rows_fingerprint="f", verdict=verdict)  # fmt: skip
    judge(engine, A, None)  # without a champion nothing is tested
    assert (counted(engine, B, A), counted(engine, C, A)) == (1, 2)  # the same judgement again
    assert counted(engine, B, A, rows="others") == counted(engine, A, B) == 3


def test_a_promotion_gives_its_number_back(engine: Engine) -> None:
    for number, outcome in ((1, Outcome.PROMOTE), (1, Outcome.REJECT), (2, Outcome.PROMOTE)):
        verdict = Verdict(outcome, ["because"], {"number": number})
        record_verdict(engine, challenger=B, champion=A, snapshot="s",
                       rows_fingerprint=f"{number} {outcome}", verdict=verdict)  # fmt: skip
    assert counted(engine, C, B) == 2


def test_a_verdict_on_the_same_rows_by_the_same_policy_is_known(engine: Engine) -> None:
    verdict = Verdict(Outcome.HOLD, ["because"], {"policy": {"alpha": 0.05}})
    made = record_verdict(engine, challenger=A, champion=None, snapshot="s",
                          rows_fingerprint="f", verdict=verdict)  # fmt: skip

    def known(champion: str | None, alpha: float) -> str | None:
        return verdict_on(engine, challenger=A, champion=champion, rows_fingerprint="f",
                          policy={"alpha": alpha})  # fmt: skip

    assert known(None, 0.05) == made
    assert known(None, 0.01) is None
    assert known(B, 0.05) is None


def test_the_same_verdict_is_kept_once(engine: Engine) -> None:
    assert judge(engine, A, None) == judge(engine, A, None)
    assert judge(engine, A, None) != judge(engine, A, None, "HOLD")
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(verdicts)) == 2


def test_the_outcome_that_releases_is_the_gates() -> None:
    assert PROMOTE == Outcome.PROMOTE


def test_an_unknown_version_is_an_error_that_names_the_known(engine: Engine) -> None:
    assert find_model(engine, A).snapshot == "s"
    with pytest.raises(ValueError, match=f"no model 'x'; known: {A}, {B}, {C}"):
        find_model(engine, "x")
