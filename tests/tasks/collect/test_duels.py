"""A duel from its first batch to its verdict and release, with simulated annotators."""

import io
import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import Engine, event, update

from core.database import writing
from core.intents import open_intents
from core.locks import only_writer
from labeling.consensus.settle import SettlePolicy
from labeling.ledger import duels, rounds
from labeling.ledger.tables import duel_samples
from models.judging.duel_record import DuelRecord
from models.judging.verdict import GatePolicy
from models.registry import releases, versions
from tasks.collect import duels as collecting
from tasks.collect.fetch import fetch_answers
from tasks.collect.settle import settle_answers
from tasks.context import Context, open_context
from tasks.direct_run import direct_runs
from tasks.operate.fsck import check
from tasks.operate.status import load_status
from tasks.operate.status_view import status_lines
from tasks.operate.verdicts import (
    recompute,
    show_verdict,
    verdict_row,
    verdicts_follow_from_duels,
)
from tasks.retrain.judge import judge
from tests.system.forks import in_a_fork
from tests.tasks.duels import (
    CHALLENGER,
    CHAMPION,
    OTHER,
    begin_duel,
    make_duel_workspace,
    put_by_hand,
)

POLICY = SettlePolicy(answers_needed=2)


@pytest.fixture(autouse=True)
def packaged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The versions that were packaged; nothing is built."""
    built: list[str] = []
    monkeypatch.setattr(collecting, "package_release", SimpleNamespace(fn=built.append))
    with direct_runs():
        yield built


def answer() -> None:
    fetch_answers.fn("simulated", POLICY)
    settle_answers.fn(POLICY)


def advance() -> str | None:
    verdict_id: str | None = collecting.advance_duel.fn("simulated")
    return verdict_id


def play(most: int = 40) -> str:
    """Ask and answer until the duel ends; return its verdict."""
    for _ in range(most):
        if (verdict_id := advance()) is not None:
            return verdict_id
        answer()
    raise AssertionError(f"the duel goes on after {most} batches")


def newest(ctx: Context) -> duels.Duel:
    with ctx.engine.connect() as connection:
        duel = duels.newest_duel(connection)
    assert duel is not None
    return duel


def test_without_a_duel_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_duel_workspace(tmp_path, monkeypatch, pool="+")
    assert advance() is None


def test_a_better_challenger_is_promoted_released_and_packaged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaged: list[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 24)
    begin_duel(ctx, "+" * 24)
    verdict_id = play()
    verdict = versions.find_verdict(ctx.engine, verdict_id)
    assert (verdict.outcome, verdict.challenger, verdict.champion) == (
        "PROMOTE", CHALLENGER, CHAMPION,
    )  # fmt: skip
    assert verdict.metrics["duel"]["populations"]["pool"]["counts"]["wins"] == 24
    duel = newest(ctx)
    assert (duel.outcome, duel.verdict_id) == ("PROMOTE", verdict_id)
    assert releases.champion(ctx.engine) == CHALLENGER
    assert packaged == [CHALLENGER]
    assert advance() is None
    assert packaged == [CHALLENGER]
    assert [one.what for one in check() if one.promise == "I11"] == []


def test_a_worse_challenger_is_rejected_before_all_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaged: list[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="-" * 60)
    begin_duel(ctx, "-" * 60)
    verdict = versions.find_verdict(ctx.engine, play())
    assert verdict.outcome == newest(ctx).outcome == "REJECT"
    with ctx.engine.connect() as connection:
        samples = duels.load_duel_samples(connection, "duel-0001")
    assert samples["round_id"].notna().sum() == 25
    assert (releases.champion(ctx.engine), packaged) == (CHAMPION, [])


def test_a_duel_whose_disagreements_are_used_up_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+-+")
    begin_duel(ctx, "+-+")
    verdict = versions.find_verdict(ctx.engine, play())
    assert verdict.outcome == "HOLD"
    assert "not decided by the answers on all disagreements" in " ".join(verdict.reasons)


def test_a_duel_that_promotes_goes_on_while_a_class_may_have_fallen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaged: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 60)
    begin_duel(ctx, "+" * 60)

    def suspected(record: DuelRecord, samples: pd.DataFrame) -> list[str]:
        return ["class dog"] if 0 < samples["counted_at"].notna().sum() < 50 else []

    monkeypatch.setattr(DuelRecord, "suspected", suspected)
    verdict = versions.find_verdict(ctx.engine, play())
    assert "duel-0001 goes on: class dog may have fallen" in capsys.readouterr().out
    with ctx.engine.connect() as connection:
        samples = duels.load_duel_samples(connection, "duel-0001")
    assert samples["counted_at"].notna().sum() == 50
    assert verdict.outcome == "PROMOTE" and packaged == [CHALLENGER]
    assert verdict.metrics["duel"]["answers"] == 25  # those at which it was decided


def test_a_class_that_nobody_can_be_asked_about_any_more_ends_the_duel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaged: list[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 30)
    begin_duel(ctx, "+" * 30)
    monkeypatch.setattr(DuelRecord, "suspected", lambda record, samples: ["class dog"])
    assert play() == newest(ctx).verdict_id


def test_a_person_releases_what_a_duel_promotes_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packaged: list[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 24)
    begin_duel(ctx, "+" * 24, approval="person")
    assert versions.find_verdict(ctx.engine, play()).outcome == "PROMOTE"
    assert (releases.champion(ctx.engine), packaged) == (CHAMPION, [])


def test_a_champion_that_was_retired_in_the_middle_ends_the_duel_without_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 40)
    begin_duel(ctx, "+" * 40)
    assert advance() is None
    answer()
    put_by_hand(ctx.engine, OTHER, expected=1)
    verdict_id = advance()
    assert verdict_id is not None
    verdict = versions.find_verdict(ctx.engine, verdict_id)
    assert verdict.outcome == "HOLD"
    assert verdict.reasons[0] == (
        f"{CHAMPION} was retired during the duel; {OTHER} is in service now"
    )
    assert releases.champion(ctx.engine) == OTHER
    assert [one.what for one in check() if one.promise == "I11"] == []


def test_a_promotion_that_came_too_late_is_said_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 24)
    begin_duel(ctx, "+" * 24)
    monkeypatch.setattr(collecting, "finish_releases", lambda _: None)
    play()
    monkeypatch.undo()
    monkeypatch.setenv("HONE_WORKSPACE", str(ctx.workspace.root))
    put_by_hand(ctx.engine, OTHER, expected=1)
    collecting.finish_releases(ctx)
    assert "duel-0001 is not released" in capsys.readouterr().out
    with ctx.engine.connect() as connection:
        assert open_intents(connection, collecting.RELEASE) == {}
    assert releases.champion(ctx.engine) == OTHER


def test_answers_that_differ_are_no_evidence_and_the_duel_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 40, error_rate=0.4)
    begin_duel(ctx, "+" * 40)
    disputing = SettlePolicy(answers_needed=2, ask_again=0)
    monkeypatch.setattr("labeling.simulation.ATTEMPTS", 1)
    advance()
    fetch_answers.fn("simulated", disputing)
    settle_answers.fn(disputing)
    advance()
    with ctx.engine.connect() as connection:
        samples = duels.load_duel_samples(connection, "duel-0001")
    endings = samples["ending"].value_counts().to_dict()
    assert endings["disputed"] > 3
    assert endings["disputed"] + endings["labelled"] == 25
    assert set(samples.loc[samples["ending"] == "disputed", "value"]) == {0.0}
    assert newest(ctx).outcome is not None or advance() is None


def test_a_round_that_was_not_sent_is_sent_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 8)
    begin_duel(ctx, "+" * 8)

    def fail(*_: object) -> None:
        raise ConnectionError("Label Studio is away")

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(collecting, "send_batch", SimpleNamespace(fn=fail))
        advance()
    with ctx.engine.connect() as connection:
        assert rounds.unsent_rounds(connection) == ["round-0001"]
    advance()
    with ctx.engine.connect() as connection:
        assert rounds.unsent_rounds(connection) == []
        assert len(rounds.open_assignments(connection)) == 8


def test_the_order_of_answering_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs = "+-++-+++" * 2
    ends = []
    for number, in_parts in enumerate((False, True)):
        ctx = make_duel_workspace(tmp_path / str(number), monkeypatch, pool=signs)
        begin_duel(ctx, signs)
        if in_parts:
            advance()
            answer_backwards(ctx)
        verdict = versions.find_verdict(ctx.engine, play())
        ends.append((verdict.verdict_id, verdict.reasons))
    assert ends[0] == ends[1]


def answer_backwards(ctx: Context) -> None:
    """Answer what is open, the last sample first, and look at the duel after each."""
    from labeling import simulation
    from labeling.ledger.answers import record_answers

    truths, annotators, seed = simulation.load_simulation(ctx.workspace.root)
    with ctx.engine.connect() as connection:
        asked = rounds.open_assignments(connection)
    for name in reversed(asked["sample_id"].tolist()):
        given = simulation.simulate_answers(
            truths[[name]], ["cat", "dog"], annotators, seed=seed, round_id="round-0001"
        )
        with only_writer(ctx.engine, "answers") as token:
            record_answers(
                ctx.engine, token, given, source=simulation.SOURCE, read=set(),
                classes=["cat", "dog"],
            )  # fmt: skip
        settle_answers.fn(POLICY)


def die_before_commit(number: int) -> None:
    """Let this process be killed before its commit of this number."""
    commits: list[Any] = []

    def count(connection: Any) -> None:
        commits.append(connection)
        if len(commits) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", count)


def run_until_killed(number: int) -> None:
    open_context().engine.dispose()
    die_before_commit(number)
    play()


def test_a_duel_that_is_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its commits in turn, and begun again each time."""
    signs = "+" * 12
    undisturbed = make_duel_workspace(tmp_path / "whole", monkeypatch, pool=signs)
    begin_duel(undisturbed, signs)
    wanted = versions.find_verdict(undisturbed.engine, play())
    ctx = make_duel_workspace(tmp_path / "killed", monkeypatch, pool=signs)
    begin_duel(ctx, signs)
    ctx.engine.dispose()
    kills = 0
    while in_a_fork(partial(run_until_killed, 1 + kills)):
        kills += 1
    assert kills > 3
    duel = newest(ctx)
    assert duel.verdict_id == wanted.verdict_id
    assert releases.champion(ctx.engine) == CHALLENGER
    with ctx.engine.connect() as connection:
        assert open_intents(connection, collecting.RELEASE) == {}
        assert rounds.unsent_rounds(connection) == []
        assert len(rounds.load_sent(connection, open_only=False)) == len(signs)
    assert [one.what for one in check() if one.promise in ("I11", "I16")] == []


def test_a_newer_challenger_waits_and_the_newest_is_judged_when_the_duel_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="-" * 30)
    begin_duel(ctx, "-" * 30)
    for version in ("hone:0004-d", OTHER):
        assert judge.fn(version, "snapshot-0001", GatePolicy(margin=0.03), "person") is None
        assert judge.fn(version, "snapshot-0001", GatePolicy(margin=0.03), "person") is None
    assert f"{OTHER} is judged when duel-0001 has ended" in capsys.readouterr().out
    standing = load_status(ctx).duel
    assert standing is not None
    assert standing.waiting == [OTHER, "hone:0004-d"]
    assert collecting.judge_waiting.fn("simulated") is None  # the duel goes on
    play()
    judged: list[tuple[object, ...]] = []

    def judging(*given: object) -> str:
        judged.append(given)
        return "verdict-1"

    monkeypatch.setattr(collecting, "judge", SimpleNamespace(fn=judging))
    assert collecting.judge_waiting.fn("simulated") == "verdict-1"
    assert judged == [(OTHER, "snapshot-0001", GatePolicy(margin=0.03), "person", "simulated")]
    assert f"{OTHER} waited and is judged now; hone:0004-d is not" in capsys.readouterr().out
    assert collecting.judge_waiting.fn("simulated") is None


def test_two_models_have_one_duel_and_its_verdict_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+-+")
    begin_duel(ctx, "+-+")
    assert judge.fn(CHALLENGER, "snapshot-0001", GatePolicy()) is None
    verdict_id = play()
    assert judge.fn(CHALLENGER, "snapshot-0001", GatePolicy()) == verdict_id


def test_the_status_says_how_far_the_duel_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+-" * 40)
    assert load_status(ctx).duel is None
    begin_duel(ctx, "+-" * 40)
    advance()
    before = load_status(ctx).duel
    assert before is not None
    assert (before.answers, before.open, before.likely) == (0, 25, None)
    answer()
    advance()
    standing = load_status(ctx).duel
    assert standing is not None
    assert (standing.answers, standing.open, standing.likely) == (25, 25, "HOLD")
    assert standing.spent == pytest.approx(standing.alpha)
    assert standing.spent + standing.left == pytest.approx(0.05)
    shown = dict(status_lines(load_status(ctx)))["Duel"]
    assert shown.startswith(f"duel-0001: {CHALLENGER} against {CHAMPION}, 25 answers of about ")
    assert shown.endswith("for life 0.0304 spent and 0.0196 left")


def test_in_a_run_with_simulated_annotators_a_duel_is_played_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 24)
    begin_duel(ctx, "+" * 24)
    verdict_id = collecting.play_duel.fn("simulated", POLICY)
    assert versions.find_verdict(ctx.engine, str(verdict_id)).outcome == "PROMOTE"


def test_a_verdict_is_recomputed_from_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_duel_workspace(tmp_path, monkeypatch, pool="+" * 24)
    begin_duel(ctx, "+" * 24)
    verdict_id = play()
    shutil.rmtree(ctx.workspace.root / "data")
    again = recompute(ctx.engine, None)
    assert (again.verdict_id, again.differences) == (verdict_id, [])
    with writing(ctx.engine) as connection:
        connection.execute(update(duel_samples).values(answer="dog"))
    again = recompute(ctx.engine, verdict_id)
    assert "outcome: recorded is 'PROMOTE', computed 'REJECT'" in again.differences
    findings = [one.what for one in verdicts_follow_from_duels(ctx.engine, ctx.workspace)]
    assert "sample image-000 of duel-0001 counts 1, its answer makes it -1" in findings
    assert any(f"{verdict_id} does not follow from duel-0001" in what for what in findings)
    screen = Console(file=io.StringIO(), width=150)
    show_verdict(verdict_row(ctx.engine, verdict_id), screen)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert f"PROMOTE: {CHALLENGER} takes the champion's place" in shown
    assert "gain" in shown
    assert "loss" in shown
