"""What the terminal shows: tables, relative times, progress that is silent while it is quick."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from tasks.report import console
from tasks.report.console import (
    ScreenOutput,
    markdown_table,
    print_fields,
    print_line,
    print_table,
    progress_text,
    relative_time,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(seconds=90), "1 minute ago"),
        (timedelta(minutes=3), "3 minutes ago"),
        (timedelta(hours=2), "2 hours ago"),
        (timedelta(days=9), "9 days ago"),
        (timedelta(days=40), "on 2026-01-20"),
    ],
)
def test_a_time_is_said_relative_to_now(ago: timedelta, words: str) -> None:
    assert relative_time((NOW - ago).isoformat(), NOW) == words


def test_progress_has_amount_rate_and_time_left() -> None:
    assert progress_text("Scoring", 250, 1000, 5) == "Scoring: 250 of 1,000, 50/s, 0:00:15 left"
    assert progress_text("Training", 1, 5, 60) == "Training: 1 of 5, 1/min, 0:04:00 left"
    assert progress_text("Training", 0, 5, 60) == "Training: 0 of 5"


def test_without_a_terminal_a_line_comes_after_two_seconds_and_then_every_ten() -> None:
    clock = iter([0.0, 1.0, 2.5, 5.0, 13.0, 14.0])
    file = io.StringIO()
    show = ScreenOutput(Console(file=file), lambda: next(clock)).progress("Scoring")
    for done in (10, 25, 50, 130, 200):
        show(done, 200)
    assert [line.split(",")[0] for line in file.getvalue().splitlines()] == [
        "Scoring: 25 of 200",
        "Scoring: 130 of 200",
    ]


def test_on_a_terminal_the_bar_is_gone_when_the_work_is_done() -> None:
    clock = iter([0.0, 3.0, 3.0, 4.0])
    file = io.StringIO()
    output = ScreenOutput(Console(file=file, force_terminal=True, width=80), lambda: next(clock))
    show = output.progress("Scoring")
    show(25, 200)
    assert "Scoring" in file.getvalue()
    show(200, 200)
    assert output._bars is None


def test_progress_is_shown_only_for_a_command_run_by_hand() -> None:
    assert console.screen_progress("Scoring") is None
    with console.screen_output():
        assert console.screen_progress("Scoring") is not None
    assert console.screen_progress("Scoring") is None


def test_one_set_of_rows_makes_a_table_for_the_screen_and_for_markdown() -> None:
    rows = [{"name": "a|b", "rows": "1"}, {"name": "c", "rows": "22"}]
    file = io.StringIO()
    print_table(Console(file=file, width=60), "Names", rows, words=frozenset({"name"}), limit=1)
    assert "a|b" in file.getvalue() and "... and 1 more" in file.getvalue()
    text = markdown_table(rows, lambda cell: cell.replace("|", "\\|"))
    assert text.splitlines() == ["| name | rows |", "| --- | --- |", "| a\\|b | 1 |", "| c | 22 |"]


def test_a_name_from_a_stranger_moves_no_terminal() -> None:
    file = io.StringIO()
    screen = Console(file=file, width=60)
    name = "cat\x1b[2J\x1b]0;title\x07"
    print_table(screen, "Names", [{"name": name}], words=frozenset({"name"}))
    print_fields(screen, "", [(name, name)])
    print_line(screen, name)
    assert "\x1b" not in file.getvalue() and "\x07" not in file.getvalue()
    assert file.getvalue().count("\\x1b[2J") == 4
