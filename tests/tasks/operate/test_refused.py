"""`hone refused`: what was refused, newest first."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import insert

from core.database import now, writing
from core.errors import HoneError
from core.workspace import init_workspace
from labeling.ledger.tables import refusals, refused_answers
from tasks.context import Context, open_context
from tasks.operate import refused


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """Three refused files, a moment apart, and a refused answer."""
    monkeypatch.setenv("HONE_WORKSPACE", str(init_workspace(tmp_path, ["cat", "dog"]).root))
    opened = open_context()
    rows = [
        {"path": f"/{name}", "size": 1, "mtime_ns": 1, "reason": reason, "detail": f"why {name}",
         "refused_at": f"2026-01-0{number}T00:00:00+00:00"}
        for number, (name, reason) in enumerate(
            [("a.txt", "NOT_AN_IMAGE"), ("b.txt", "NOT_AN_IMAGE"), ("c.png", "TOO_LARGE")], start=1
        )
    ]  # fmt: skip
    answer = {"source": "studio", "external_id": "7", "digest": "d", "annotator": "ann"}
    why = {"reason": "NO_CLASS", "detail": "'cow' is no class", "seen_at": now()}
    with writing(opened.engine) as connection:
        connection.execute(insert(refusals), rows)
        connection.execute(insert(refused_answers).values(**answer, **why))
    yield opened
    opened.engine.dispose()


def test_files_are_listed_newest_first(ctx: Context) -> None:
    listed = refused.refused_files(ctx, None, None)
    assert [row.path for row in listed] == ["/c.png", "/b.txt", "/a.txt"]
    assert [row.path for row in refused.refused_files(ctx, "NOT_AN_IMAGE", 1)] == ["/b.txt"]


def test_a_reason_that_no_file_has_is_an_error_with_those_there_are(ctx: Context) -> None:
    with pytest.raises(HoneError, match="'CORRUPT'; reasons: NOT_AN_IMAGE, TOO_LARGE"):
        refused.refused_files(ctx, "CORRUPT", None)


def test_the_table_has_path_reason_detail_and_what_it_leaves_out(ctx: Context) -> None:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    files = refused.refused_files(ctx, None, 2)
    refused.show_refused(files, refused.count_refused(ctx, reason=None, answers=False), console)
    assert isinstance(console.file, io.StringIO)
    page = console.file.getvalue()
    assert "/c.png" in page and "TOO_LARGE" in page and "why c.png" in page
    assert "/a.txt" not in page and "... and 1 more; --limit 3 shows them all" in page


def test_answers_are_listed_with_their_annotator(ctx: Context) -> None:
    (answer,) = refused.refused_answers(ctx, None, 20)
    assert (answer.annotator, answer.reason) == ("ann", "NO_CLASS")
    assert refused.count_refused(ctx, reason=None, answers=True) == 1
    assert refused.count_refused(ctx, reason="NOT_AN_IMAGE", answers=False) == 2
