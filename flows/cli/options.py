"""What commands share: options, JSON for other programs, and how a flow is run by hand."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from core.text import printable


class Annotators(StrEnum):
    """Who answers."""

    label_studio = "label-studio"
    simulated = "simulated"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on the last line.")]
Answering = Annotated[Annotators, typer.Option(help="Who answers.")]


def echo_json(value: Any) -> None:
    """Print a value as one line of JSON, a dataclass by the names of its fields."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif isinstance(value, list):
        value = [vars(row) if is_dataclass(row) else row for row in value]
    typer.echo(json.dumps(value, default=str))


@contextmanager
def single_run() -> Iterator[None]:
    """Run flows on the configured Prefect server, or without one as plain functions.

    Without a server nothing orders runs, so that a second one in the workspace is refused.
    """
    from prefect.settings import PREFECT_API_URL

    from core.locks import LockBusy, only_writer
    from tasks.context import open_context
    from tasks.direct_run import direct_runs
    from tasks.report.console import screen_output

    ctx = open_context()
    with ExitStack() as stack:
        stack.enter_context(screen_output())
        if ctx.settings.prefect_api_url or PREFECT_API_URL.value():
            stack.enter_context(quick_flows())
            yield
            return
        try:
            stack.enter_context(only_writer(ctx.engine, "run-without-server", patience=0))
        except LockBusy as error:
            raise ValueError(
                f"another run is under way in {ctx.workspace.root} ({error}), and "
                "PREFECT_API_URL is not set; overlapping runs need a server: start one with "
                "`prefect server start` and set PREFECT_API_URL to it, or wait"
            ) from error
        stack.enter_context(direct_runs())
        yield


@contextmanager
def quick_flows() -> Iterator[None]:
    """Flows whose own lines appear on standard output, without Prefect's log on the screen.

    The heartbeat thread is off, because it delays the end of each flow by up to a second. Nothing
    here listens to it: promises rest on the database, not on a run's state.
    """
    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from tasks.operate.prefect_api import TAG

    if not os.environ.get("HONE_TRACEBACK"):
        _print_own_lines_only()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(TAG):
        yield


def _print_own_lines_only() -> None:
    """Print what flows print as plain lines; the log itself goes to the Prefect server only."""
    import prefect.main  # sets up the console that is then silenced
    from prefect.logging.handlers import PrefectConsoleHandler

    package = str(Path(prefect.__file__).parent)

    def is_own_line(record: logging.LogRecord) -> bool:
        return not record.pathname.startswith(package) or record.funcName == "handle_retry"

    def is_for_the_screen(record: logging.LogRecord) -> bool:
        waits = record.pathname.startswith(package) and record.levelno < logging.ERROR
        return not (record.name.startswith("prefect") or waits)

    lines = _PlainLines()
    lines.addFilter(is_own_line)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(lines)
    for handler in [*logging.getLogger().handlers, *logging.getLogger("prefect").handlers]:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(is_for_the_screen)


class _PlainLines(logging.Handler):
    """Writes the message of each record to standard output, and nothing else of it."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(printable(record.getMessage()))
