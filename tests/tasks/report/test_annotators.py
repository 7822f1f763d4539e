"""A ledger with four annotators whose habits are known, and the reports on them."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sqlalchemy import Engine, insert

from core.database import writing
from labeling.consensus.settle import SettlePolicy
from labeling.ledger.report_queries import LedgerVersion, ledger_version, reported_version
from labeling.ledger.tables import answers, assignments, gold, labels, refused_answers, rounds
from tasks.direct_run import direct_runs
from tasks.report import annotators, annotators_view, publish
from tasks.report.annotators_view import agreement_rows, annotator_rows
from tasks.report.artifacts import escape_markdown
from tests.labeling.databases import make_engine

CLASSES = ["cat", "dog", "neither"]
POLICY = SettlePolicy(gold_needed=10, gold_accuracy=0.8)
CAREFUL, HASTY, LED, LONG = "ann", "ben", "cem [led]", "d" * 60 + "@example.com"
SAMPLES = 120
ERRORS = {CAREFUL: 0.02, HASTY: 0.5, LED: 0.05, LONG: 0.05}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = make_engine(tmp_path, [f"s{number:03d}" for number in range(SAMPLES)])
    rng = np.random.default_rng(0)
    truth = {f"s{number:03d}": CLASSES[number // 2 % 2] for number in range(SAMPLES)}
    guess = {
        key: CLASSES[(number // 2 + (number % 3 == 0)) % 2] for number, key in enumerate(truth)
    }
    blind = {key: number % 4 == 0 for number, key in enumerate(truth)}
    with writing(made) as connection:
        connection.execute(insert(rounds), [_round(1), _round(2)])
        connection.execute(
            insert(assignments),
            [
                _assignment(number, key, guess[key], blind[key])
                for number, key in enumerate(sorted(truth))
            ],
        )
        connection.execute(insert(answers), _answers(truth, guess, blind, rng))
        known = [{"sample_id": key, "label": truth[key]} for key in sorted(truth)[:20]]
        at = {"source": "a list", "added_at": "2026"}
        connection.execute(insert(gold), [row | at for row in known])
        connection.execute(insert(labels), [_label(key, truth[key]) for key in sorted(truth)[:100]])
        connection.execute(insert(refused_answers), [_refused(number) for number in range(3)])
    return made


def _round(number: int) -> dict:
    name = f"round-{number:04d}"
    return {"round_id": name, "number": number, "strategy": "margin", "model": None, "seed": 0,
            "config": {}, "why": "scheduled", "chosen_at": "2026"}  # fmt: skip


def _assignment(number: int, key: str, guess: str, blind: bool) -> dict:
    return {"round_id": f"round-{1 + number % 2:04d}", "sample_id": key, "position": number,
            "reason": "margin", "pre_annotation": guess, "blind": blind, "sent_at": "2026",
            "required_annotators": 2 if number % 3 else 1, "asked_again": int(number % 50 == 1),
            "disputed_at": "2026" if number == 7 else None}  # fmt: skip


def _answers(truth: dict, guess: dict, blind: dict, rng: np.random.Generator) -> list[dict]:
    rows = []
    for number, key in enumerate(sorted(truth)):
        for who, rate in ERRORS.items():
            said = truth[key] if rng.random() >= rate else CLASSES[rng.integers(3)]
            if who == LED and not blind[key]:
                said = guess[key]
            skips = rng.random() < 0.03
            rows.append({
                "source": "label-studio:1", "external_id": f"{key}:{who}", "sample_id": key,
                "annotator": who, "round_id": f"round-{1 + number % 2:04d}",
                "kind": "skip" if skips else "answer", "value": None if skips else said,
                "lead_time": (0.2 if who == HASTY else 2.0) * rng.lognormal(0, 0.3),
                "updated_at": "2026", "digest": f"{key}:{who}", "seen_at": "2026",
            })  # fmt: skip
    return rows


def _label(key: str, label: str) -> dict:
    trust = 0.99 if key != "s099" else 0.6
    return {"sample_id": key, "label": label, "trust": trust, "annotators": [],
            "method": "bayes", "settled_at": "2026"}  # fmt: skip


def _refused(number: int) -> dict:
    reason = "UNKNOWN_CLASS" if number else "EMPTY"
    return {"source": "label-studio:1", "external_id": str(number), "digest": "", "reason": reason,
            "detail": "", "seen_at": "2026"}  # fmt: skip


def printed(show: Callable[..., None], report: object, width: int) -> str:
    """What a terminal of that width shows."""
    file = io.StringIO()
    screen = Console(
        width=width, file=file, highlight=False, force_terminal=True, color_system=None
    )
    show(report, screen)
    return file.getvalue()


def test_a_person_under_the_policy_is_named_with_what_it_means(engine: Engine) -> None:
    report = annotators.annotators_report(engine, POLICY, CLASSES)
    figures = {row.annotator: row for row in report.annotators}
    assert (figures[HASTY].weight or 0) < 1 == figures[CAREFUL].weight
    sentence = next(line for line in report.remarks if line.startswith(f"{HASTY} was right"))
    accuracy, judged = figures[HASTY].accuracy, figures[HASTY].judged
    assert f"on {accuracy:.2f} of {judged} gold samples" in sentence
    assert f"counts {figures[HASTY].weight:.2f} instead of 1" in sentence
    assert not [line for line in report.remarks if line.startswith(CAREFUL)]


def test_the_hasty_and_the_led_are_named(engine: Engine) -> None:
    said = annotators.annotators_report(engine, POLICY, CLASSES).remarks
    assert [line for line in said if line.startswith(f"{HASTY} gave 100%")]
    assert [line for line in said if line.startswith(f"{LED} is led by the pre-annotation")]


def test_the_whole_confusion_matrix_is_in_the_report(engine: Engine) -> None:
    report = annotators.annotators_report(engine, POLICY, CLASSES)
    assert set(report.confusions) == set(ERRORS)
    assert list(report.confusions[HASTY]) == ["cat", "dog"]
    assert list(report.confusions[HASTY]["cat"]) == CLASSES
    assert report.confusions[CAREFUL]["cat"]["cat"] > 40


def test_a_review_says_nothing_about_guesses(engine: Engine) -> None:
    before = annotators.annotators_report(engine, POLICY, CLASSES).everybody
    with writing(engine) as connection:
        connection.execute(assignments.update().values(reason="review"))
    after = annotators.annotators_report(engine, POLICY, CLASSES).everybody
    assert (before.shown > 0, before.blind > 0) == (True, True)
    assert (after.shown, after.blind, after.led) == (0, 0, None)


def test_answers_that_were_taken_back_are_not_counted(engine: Engine) -> None:
    with writing(engine) as connection:
        taken = answers.update().where(answers.c.annotator == HASTY)
        connection.execute(taken.values(replaced_at="2026"))
    report = annotators.annotators_report(engine, POLICY, CLASSES)
    assert HASTY not in [row.annotator for row in report.annotators]


def test_the_quality_report_counts_what_stands_and_what_waits(engine: Engine) -> None:
    report = annotators.quality_report(engine, POLICY, CLASSES)
    assert report.labels.balance == {"cat": 50, "dog": 50, "neither": 0}
    assert (report.labels.in_force, report.labels.under_threshold) == (100, 1)
    assert asdict(report.assignments) == {
        "sent": 120, "blind": 30, "overlap": 78, "asked_again": 3, "disputed": 1,
        "waiting_for_a_final_word": 1,
    }  # fmt: skip
    assert report.refused_answers == {"EMPTY": 1, "UNKNOWN_CLASS": 2}
    assert report.gold == 20
    assert [row.name for row in report.agreement.classes] == CLASSES
    assert [row.name for row in report.agreement.rounds] == ["round-0001", "round-0002"]
    assert len(report.pairs) == 6
    assert report.remarks[0].startswith("Agreement (alpha) 0.")


def test_an_overlap_that_was_asked_again_is_still_an_overlap(engine: Engine) -> None:
    before = annotators.quality_report(engine, POLICY, CLASSES).assignments
    with writing(engine) as connection:
        again = assignments.update().where(assignments.c.sample_id == "s002")
        connection.execute(again.values(required_annotators=3, asked_again=1))
    after = annotators.quality_report(engine, POLICY, CLASSES).assignments
    assert after == replace(before, asked_again=before.asked_again + 1)


def test_refused_answers_are_listed_with_their_place_until_somebody_corrects_them(
    engine: Engine,
) -> None:
    detail = "task 7: 'zebra' is none of the classes cat, dog"
    with writing(engine) as connection:
        mine = {"external_id": "s001:ann", "annotator": "ann", "detail": detail}
        connection.execute(insert(refused_answers), [_refused(1) | mine | {"seen_at": "2027"}])
        first = answers.update().where(answers.c.external_id == "s001:ann")
        connection.execute(first.values(replaced_at="2027"))
    found = annotators.quality_report(engine, POLICY, CLASSES)
    assert [row.detail for row in found.refused] == [detail, "", "", ""]
    said = " ".join(printed(annotators_view.show_quality, found, 100).split())
    assert "UNKNOWN_CLASS ann task 7: 'zebra' is none of the classes cat, dog" in said
    with writing(engine) as connection:
        connection.execute(first.values(replaced_at=None))
    found = annotators.quality_report(engine, POLICY, CLASSES)
    assert [row.detail for row in found.refused] == ["", "", ""]
    assert found.refused_answers == {"EMPTY": 1, "UNKNOWN_CLASS": 2}


def test_reports_are_json_without_nan_also_of_an_empty_workspace(tmp_path: Path) -> None:
    empty = make_engine(tmp_path, ["s"])
    for report in (annotators.annotators_report, annotators.quality_report):
        json.dumps(asdict(report(empty, POLICY, CLASSES)), allow_nan=False)
    found = annotators.annotators_report(empty, POLICY, CLASSES)
    assert "There is no gold" in found.remarks[0]
    assert "Nobody has answered" in printed(annotators_view.show_annotators, found, 100)
    said = printed(
        annotators_view.show_quality, annotators.quality_report(empty, POLICY, CLASSES), 100
    )
    assert "no sample was answered by two annotators" in said.replace("\n", " ")


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_screen_and_lose_no_figure(engine: Engine, width: int) -> None:
    report = annotators.annotators_report(engine, POLICY, CLASSES)
    found = annotators.quality_report(engine, POLICY, CLASSES)
    said = printed(annotators_view.show_annotators, report, width)
    said += printed(annotators_view.show_quality, found, width)
    assert max(map(len, said.splitlines())) <= width
    assert LED in said  # brackets in a name are no markup
    for row in annotator_rows(report):
        for name, figure in row.items():
            assert name == "annotator" or figure in said
    assert "\u2026" not in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=http://far.example/x.png>", r"\<img src=http\://far.example/x.png\>"),
        ("**bo|ld** a_b", r"\*\*bo\|ld\*\* a\_b"),
        ("[word](http://far.example)", r"\[word\](http\://far.example)"),
        ("-", r"\-"),
        ("1. one\n# two", r"1\. one \# two"),
        ("-0.29", "-0.29"),
        ("ann@example.com, 0.91 (0.76-1.00) of 12", "ann@example.com, 0.91 (0.76-1.00) of 12"),
    ],
)  # fmt: skip
def test_a_name_is_never_markdown_or_html_in_prefect(name: str, shown: str) -> None:
    assert escape_markdown(name) == shown


def test_the_tables_in_prefect_show_names_as_they_are(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(engine) as connection:
        image = answers.update().where(answers.c.annotator == HASTY)
        connection.execute(image.values(annotator="<img src=http://far.example/x.png>"))
    published = tables_published(engine, monkeypatch)
    publish.publish_annotators.fn(POLICY)
    assert [table["key"] for table in published] == ["annotators", "agreement"]
    cells = [cell for table in published for row in table["table"] for cell in row.values()]
    assert r"\<img src=http\://far.example/x.png\>" in cells
    assert not [cell for cell in cells if cell.startswith("<")]


def tables_published(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The tables that are sent to Prefect from now on."""
    published: list[dict[str, Any]] = []
    ctx = SimpleNamespace(engine=engine, workspace=SimpleNamespace(class_names=CLASSES))
    monkeypatch.setattr(publish, "open_context", lambda: ctx)
    monkeypatch.setattr(publish, "publish_table", lambda **table: published.append(table))
    return published


def test_a_report_reads_answers_only_where_something_changed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tables_published(engine, monkeypatch)
    publish.publish_annotators.fn(POLICY)
    publish.publish_annotators.fn(POLICY)
    assert len(published) == 2
    publish.publish_annotators.fn(replace(POLICY, gold_accuracy=0.9))
    assert len(published) == 4


def test_a_ledger_without_answers_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = make_engine(tmp_path, ["s"])
    assert tables_published(empty, monkeypatch) == []
    publish.publish_annotators.fn(POLICY)
    with empty.connect() as connection:
        reported = reported_version(connection)
        assert reported is not None
        now = ledger_version(connection, settings=reported.settings)
    assert not now.needs_report(reported)


@pytest.mark.parametrize(("new", "hours", "is_due"), [
    (0, 48, False), (1, 1, False), (1, 25, True), (10, 1, True)
])  # fmt: skip
def test_a_report_waits_for_a_hundredth_more_answers_or_for_a_day(
    new: int, hours: int, is_due: bool
) -> None:
    reported = LedgerVersion(990, ["labels"], [], "2026-01-01T00:00:00+00:00")
    at = datetime.fromisoformat(reported.at) + timedelta(hours=hours)
    assert LedgerVersion(990 + new, ["labels"], [], at.isoformat()).needs_report(reported) is is_due


def test_a_withdrawn_answer_makes_another_version_of_the_ledger(engine: Engine) -> None:
    with writing(engine) as connection:
        before = ledger_version(connection, settings=[])
        withdrawn = answers.update().where(answers.c.external_id == f"s000:{CAREFUL}")
        connection.execute(withdrawn.values(replaced_at="2026"))
        after = ledger_version(connection, settings=[])
    assert before.changes != after.changes


def test_without_prefect_nothing_is_read_for_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(publish, "open_context")
    with direct_runs():
        publish.publish_annotators.fn(POLICY)


def test_the_rows_for_prefect_are_words(engine: Engine) -> None:
    for rows in (
        annotator_rows(annotators.annotators_report(engine, POLICY, CLASSES)),
        agreement_rows(annotators.quality_report(engine, POLICY, CLASSES)),
    ):
        assert rows
        assert {type(value) for row in rows for value in row.values()} == {str}
        assert len({tuple(row) for row in rows}) == 1
