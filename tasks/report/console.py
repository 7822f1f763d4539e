"""Tables, relative times and progress: one way to show them on a screen and in Markdown."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core.text import printable

NOTHING = "-"
MAX_ROWS = 12  # of a table that may be long; --json has them all
QUICK = 2.0  # seconds that need no progress
BETWEEN_LINES = 10.0  # seconds, where the output is no terminal
Row = dict[str, str]
ShowProgress = Callable[[float, float], None]


def print_table(
    console: Console,
    title: str,
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    *,
    words: frozenset[str] = frozenset(),
    limit: int = MAX_ROWS,
) -> None:
    """Print rows under a title, or nothing without rows.

    The columns in `words` are left-aligned and wrap on a narrow screen; figures never wrap.
    """
    if not rows:
        return
    table = Table(
        title=f"\n{title}" if title else None, title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
    )  # fmt: skip
    names = list(columns or rows[0])
    for name in names:
        is_text = name in words
        table.add_column(
            name if is_text else name.replace(" ", "\n", 1),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for row in rows[:limit]:
        table.add_row(*(_text(row[name]) for name in names))
    console.print(table)
    if len(rows) > limit:
        print_line(console, f"... and {len(rows) - limit} more; --json has them all")


def print_fields(console: Console, title: str, fields: Sequence[tuple[str, str]]) -> None:
    """Print a title and under it one line for each name with its value, which wraps."""
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(_text(f"  {name}"), _text(value))
    console.print(grid)


def print_line(console: Console, line: str) -> None:
    """Print a sentence without markup: wrapped between words on a terminal, else as one line."""
    console.print(_text(line), soft_wrap=not console.is_terminal)


def _text(value: str) -> Text:
    return Text(printable(value))


def markdown_table(rows: Sequence[Row], escape: Callable[[str], str]) -> str:
    """The rows as a Markdown table, each cell escaped."""
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([*map(escape, row.values())] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def relative_time(moment: str, now: datetime) -> str:
    """An ISO time relative to now: "3 minutes ago", "2 days ago"."""
    seconds = (now - datetime.fromisoformat(moment)).total_seconds()
    if seconds < 60:
        return "just now"
    for unit, size in (("minute", 3600), ("hour", 86400), ("day", 14 * 86400)):
        if seconds < size:
            count = int(seconds // {"minute": 60, "hour": 3600, "day": 86400}[unit])
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"on {moment[:10]}"


_OUTPUT: ContextVar["ScreenOutput | None"] = ContextVar("hone_screen_output", default=None)


@contextmanager
def screen_output() -> Iterator[None]:
    """Show the progress of what runs inside on the screen, for a command run by hand."""
    output = ScreenOutput()
    token = _OUTPUT.set(output)
    try:
        yield
    finally:
        output.close()
        _OUTPUT.reset(token)


def screen_progress(description: str) -> ShowProgress | None:
    """Show how far something is, its rate and the time left; None where nobody looks on."""
    output = _OUTPUT.get()
    return None if output is None else output.progress(description)


@dataclass
class ScreenOutput:
    """The progress of one command: a bar on a terminal, now and then a line elsewhere."""

    console: Console = field(default_factory=lambda: Console(file=sys.stderr, highlight=False))
    clock: Callable[[], float] = time.monotonic
    _bars: Progress | None = None

    def progress(self, description: str) -> ShowProgress:
        """A function of how much is done and of how much there is; it shows both."""
        return self._bar(description) if self.console.is_terminal else self._lines(description)

    def close(self) -> None:
        """Take the bars off the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _bar(self, description: str) -> ShowProgress:
        began, bar = self.clock(), None

        def show(done: float, total: float) -> None:
            nonlocal bar
            if done >= total:
                if bar is not None:
                    self.close()
                bar = None
            elif self.clock() - began >= QUICK:
                if bar is None:
                    bar = self._add_bar(description, total)
                assert self._bars is not None
                rate = rate_text(done, self.clock() - began)
                self._bars.update(bar, completed=done, total=total, rate=rate)

        return show

    def _add_bar(self, description: str, total: float) -> TaskID:
        if self._bars is None:
            columns = (
                TextColumn("{task.description}"), BarColumn(),
                TextColumn("{task.completed:g} of {task.total:g}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )  # fmt: skip
            self._bars = Progress(*columns, console=self.console, transient=True)
            self._bars.start()
        return self._bars.add_task(description, total=total, rate="")

    def _lines(self, description: str) -> ShowProgress:
        began = self.clock()
        shown_at = began + QUICK - BETWEEN_LINES  # the first line after two seconds

        def show(done: float, total: float) -> None:
            nonlocal shown_at
            now = self.clock()
            if done >= total or now - shown_at < BETWEEN_LINES:
                return
            shown_at = now
            self.console.print(progress_text(description, done, total, now - began), soft_wrap=True)

        return show


def progress_text(description: str, done: float, total: float, seconds: float) -> str:
    """How far something is, its rate, and the time left, in one line."""
    text = f"{description}: {done:,g} of {total:,g}"
    if done <= 0 or seconds <= 0:
        return text
    left = timedelta(seconds=round((total - done) * seconds / done))
    return f"{text}, {rate_text(done, seconds)}, {left} left"


def rate_text(done: float, seconds: float) -> str:
    """How many a second, or a minute where that is less than one."""
    rate = done / seconds if seconds > 0 else 0.0
    return f"{rate:,.3g}/s" if rate >= 1 else f"{60 * rate:,.3g}/min"
