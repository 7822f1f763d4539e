"""What was refused and why, as a table for the terminal."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console

from core.database import now
from core.errors import HoneError
from labeling.ledger.overview import ledger_counts
from labeling.ledger.refused import (
    RefusedAnswer,
    RefusedFile,
    list_refused_answers,
    list_refused_files,
)
from tasks.context import Context
from tasks.report.console import NOTHING, Row, print_line, print_table, relative_time

WORDS = frozenset({"file", "answer", "annotator", "reason", "detail", "when"})


def refused_files(ctx: Context, reason: str | None, limit: int | None) -> list[RefusedFile]:
    """The refused files, newest first; a reason for which none was refused is an error."""
    with ctx.engine.connect() as connection:
        files = list_refused_files(connection, reason=reason, limit=limit)
        known = ledger_counts(connection).refused
    if reason is not None and known and not files:
        raise HoneError(f"no file was refused as {reason!r}; reasons: {', '.join(known)}")
    return files


def refused_answers(ctx: Context, reason: str | None, limit: int | None) -> list[RefusedAnswer]:
    """The refused answers, newest first."""
    with ctx.engine.connect() as connection:
        return list_refused_answers(connection, reason=reason, limit=limit)


def show_refused(
    refused: Sequence[RefusedFile] | Sequence[RefusedAnswer],
    total: int,
    console: Console | None = None,
) -> None:
    """Print a table of files or of answers, and how many there are beside it."""
    screen = console or Console(highlight=False)
    if not refused:
        print_line(screen, "nothing was refused")
        return
    at = datetime.fromisoformat(now())
    rows = [_row(one, at) for one in refused]
    print_table(screen, "", rows, words=WORDS, limit=len(rows))
    if total > len(rows):
        print_line(screen, f"... and {total - len(rows):,} more; --limit {total} shows them all")


def _row(one: RefusedFile | RefusedAnswer, at: datetime) -> Row:
    why = {"reason": one.reason, "detail": one.detail or NOTHING}
    when = {"when": relative_time(one.refused_at, at)}
    if isinstance(one, RefusedFile):
        return {"file": one.path, **why, **when}
    about = f"{one.external_id} of {one.source}"
    return {"answer": about, "annotator": one.annotator or NOTHING, **why, **when}


def count_refused(ctx: Context, *, reason: str | None, answers: bool) -> int:
    """How many files, or answers, were refused; of one reason or of all."""
    with ctx.engine.connect() as connection:
        if answers:
            return len(list_refused_answers(connection, reason=reason))
        by_reason = ledger_counts(connection).refused
    return sum(by_reason.values()) if reason is None else by_reason.get(reason, 0)
