"""Versions, verdicts and the release pointer: what is in service was judged, and changes once."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select

from core.database import connect, now, upgrade, writing
from models.judging.verdict import Outcome, Verdict
from models.registry.versions import (
    PROMOTE,
    Superseded,
    champion,
    current_release,
    evidence_number,
    find_model,
    models,
    record_verdict,
    release,
    verdict_on,
    verdicts,
)

A, B, C = "hone:0001-a", "hone:0002-b", "hone:0003-c"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    with writing(engine) as connection:
        for version in (A, B, C):
            row = {"version": version, "weights_sha256": "0", "snapshot": "s", "code_commit": "c",
                   "seed": 0, "config": {}, "metrics": {}, "created_at": now()}  # fmt: skip
            connection.execute(insert(models).values(**row))
    return engine


def judge(engine: Engine, challenger: str, against: str | None, outcome: str = "PROMOTE") -> str:
    return record_verdict(
        engine, challenger=challenger, champion=against, snapshot="s", rows_fingerprint="f",
        verdict=Verdict(Outcome(outcome), ["because"], {"gain": 0.1}),
    )  # fmt: skip


def put(engine: Engine, version: str, verdict_id: str | None, expected: int, **more: object) -> int:
    words = {"who": "hone retrain", "why": "better"} | more
    return release(engine, version=version, verdict_id=verdict_id, expected=expected, **words)  # type: ignore[arg-type]


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


def test_before_the_first_release_nothing_is_in_service(engine: Engine) -> None:
    assert current_release(engine) is None
    assert champion(engine) is None


def test_a_promoted_model_is_released(engine: Engine) -> None:
    assert put(engine, A, judge(engine, A, None), 0) == 1
    assert put(engine, B, judge(engine, B, A), 1) == 2
    current = current_release(engine)
    assert current is not None
    assert (current.number, current.champion, current.who) == (2, B, "hone retrain")


def test_releasing_twice_is_once(engine: Engine) -> None:
    verdict = judge(engine, A, None)
    assert [put(engine, A, verdict, 0), put(engine, A, verdict, 0), put(engine, A, verdict, 1)] == [
        1, 1, 1
    ]  # fmt: skip


@pytest.mark.parametrize("outcome", ["HOLD", "REJECT"])
def test_without_a_promote_verdict_nothing_is_released(engine: Engine, outcome: str) -> None:
    verdict = judge(engine, A, None, outcome)
    with pytest.raises(ValueError, match=f"{outcome} of {A}, a PROMOTE verdict"):
        put(engine, A, verdict, 0)
    with pytest.raises(ValueError, match="no verdict"):
        put(engine, A, None, 0)
    assert champion(engine) is None


def test_a_verdict_on_another_model_does_not_count(engine: Engine) -> None:
    with pytest.raises(ValueError, match=f"PROMOTE of {B}"):
        put(engine, A, judge(engine, B, None), 0)


def test_a_verdict_against_a_past_champion_does_not_count(engine: Engine) -> None:
    late = judge(engine, C, None)
    put(engine, A, judge(engine, A, None), 0)
    with pytest.raises(Superseded, match=f"judged against no champion, but {A}"):
        put(engine, C, late, 1)
    assert champion(engine) == A


def test_a_release_made_meanwhile_supersedes(engine: Engine) -> None:
    mine, other = judge(engine, B, None), judge(engine, C, None)
    put(engine, C, other, 0)
    with pytest.raises(Superseded, match="release 0 was expected, 1 is current"):
        put(engine, B, mine, 0)


def test_of_releases_made_at_the_same_time_one_wins(engine: Engine) -> None:
    judged = {version: judge(engine, version, None) for version in (A, B, C)}
    ready = threading.Barrier(3)
    outcomes: list[int | str] = []

    def race(version: str) -> None:
        ready.wait()
        try:
            outcomes.append(put(engine, version, judged[version], 0))
        except Superseded:
            outcomes.append("superseded")

    threads = [threading.Thread(target=race, args=(version,)) for version in judged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [1, "superseded", "superseded"]


def test_a_named_person_may_override_a_verdict(engine: Engine) -> None:
    held = judge(engine, A, None, "HOLD")
    assert put(engine, A, held, 0, who="Ada", why="the old one is worse", override=True) == 1
    assert put(engine, B, None, 1, who="Ada", why="a try", override=True) == 2
    assert put(engine, A, None, 2, who="Ada", why="back again", override=True) == 3


@pytest.mark.parametrize("who", ["hone", "hone retrain", " "])
def test_an_override_needs_a_person(engine: Engine, who: str) -> None:
    with pytest.raises(ValueError, match=r"person|needs who"):
        put(engine, A, None, 0, who=who, override=True)


def test_an_override_needs_a_reason_and_a_model(engine: Engine) -> None:
    with pytest.raises(ValueError, match="needs who"):
        put(engine, A, None, 0, who="Ada", why="", override=True)
    with pytest.raises(ValueError, match="no model 'hone:0009-z'"):
        put(engine, "hone:0009-z", None, 0, who="Ada", override=True)


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
