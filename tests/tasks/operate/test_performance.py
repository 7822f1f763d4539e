"""How right models were in service, as people read it; and truths that a repair makes again."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import Engine, delete, select

from core.database import writing
from models.watching.outcome_queries import (
    counts_by_period,
    counts_by_slice,
    outcome_counts,
    period_of,
)
from models.watching.outcome_tables import truths
from tasks.context import open_context
from tasks.operate import fsck, mend
from tasks.operate.performance import PerformanceReport, load_performance, show_performance
from tests.models.saved_models import make_workspace, put_in_service, save
from tests.models.watching.feedback_given import record, serve, truth
from tests.tasks.operate.sound_workspace import make_sound_workspace


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A champion that answered "cat" on three days from two cameras."""
    workspace, engine = make_workspace(tmp_path / "work")
    version = save(workspace, engine)
    put_in_service(engine, version)
    for day in (1, 2, 9):
        at = f"2026-01-{day:02d}T10:00:00.000000+00:00"
        source = "north" if day < 9 else "south"
        serve(engine, ["cat"] * 4, first=day * 10, model=version, served_at=at, source=source)
    return engine


def report(engine: Engine, period: str = "day", last: int = 5) -> PerformanceReport:
    return load_performance(engine, None, period=period, last=last)


def page(shown: PerformanceReport) -> str:
    console = Console(file=io.StringIO(), width=140, highlight=False)
    show_performance(shown, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_truths_are_counted_where_they_were_served_also_late_ones(engine):
    record(engine, truth(10, "cat"), truth(20, "dog"), truth(90, "cat"))
    days = report(engine).periods
    assert {name: one.accuracy.value for name, one in days.items()} == {
        "2026-01-01": 1.0, "2026-01-02": 0.0, "2026-01-09": 1.0,
    }  # fmt: skip
    record(engine, truth(11, "dog"), truth(20, "cat", under="corrected"))
    days = report(engine).periods
    assert (days["2026-01-01"].accuracy.value, days["2026-01-02"].accuracy.value) == (0.5, 1.0)
    assert list(report(engine, "week").periods) == ["2026-W01", "2026-W02"]
    assert list(report(engine, "hour", last=1).periods) == ["2026-01-09T10"]


def test_a_page_has_periods_classes_and_sources_each_with_an_interval(engine):
    record(engine, *(truth(number, "cat") for number in (10, 11, 20, 90)), truth(91, "dog"))
    shown = page(report(engine))
    for text in (
        "By period",
        "By class",
        "By source",
        "north",
        "south",
        "2026-01-09",
        "5 confirmed",
    ):
        assert text in shown
    assert "0.800 [" in shown and "precision" in shown
    assert report(engine).slices["north"].rows == 3


def test_of_many_sources_those_with_the_most_truths_are_reported_on(engine):
    """A client may name another source with each image."""
    record(engine, *(truth(number, "cat") for number in (10, 11, 90)))
    version = str(report(engine).model)
    with engine.connect() as connection:
        most = counts_by_slice(connection, version, most=1)
        every = counts_by_slice(connection, version)
    assert most == {"north": {("cat", "cat"): 2}}
    assert list(every) == ["north", "south"]


def test_without_truths_the_page_says_where_they_come_from(engine):
    assert "`hone feedback FILE` takes truths in" in page(report(engine))
    with pytest.raises(ValueError, match="choose one of hour, day, week"), engine.connect() as to:
        counts_by_period(to, "hone:1", "year", last=1)
    assert period_of("2026-12-31T10", "week") == "2026-W53"


def test_a_repair_makes_truths_again_and_they_count_as_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HONE_WORKSPACE", str(make_sound_workspace(tmp_path / "work").root))
    ctx = open_context()
    with writing(ctx.engine) as connection:
        connection.execute(delete(truths))
    assert {finding.promise for finding in fsck.check()} == {"I9"}
    mend.repair()
    assert fsck.check() == []
    with ctx.engine.connect() as connection:
        assert connection.scalars(select(truths.c.truth)).all() == ["eel"]
        assert outcome_counts(connection).judging == 1
    ctx.engine.dispose()


def test_near_duplicates_among_the_truths_are_counted_as_one_and_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(engine, *(truth(number, "cat") for number in (10, 11, 12, 13, 20, 21)))
    apart = report(engine)
    assert apart.whole is not None
    assert apart.distinct == 1.0
    assert "Near-duplicates" not in page(apart)
    groups = {f"sample {number}": "one scene" for number in (10, 11, 12, 13)}
    monkeypatch.setattr("tasks.scenes.groups_of", lambda *_: groups)
    together = report(engine)
    assert together.whole is not None
    assert together.whole.rows == 6
    assert together.whole.accuracy.low < apart.whole.accuracy.low - 0.1
    assert "intervals count 2 of 6 truths" in page(together)
