"""What commands that run a flow share: options, and one run at a time without a server."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer


class Annotators(StrEnum):
    """Who answers."""

    label_studio = "label-studio"
    simulated = "simulated"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on the last line.")]
Answering = Annotated[Annotators, typer.Option(help="Who answers.")]


@contextmanager
def single_run() -> Iterator[None]:
    """Run a flow with or without a Prefect server; without one, refuse to overlap another run."""
    from contextlib import ExitStack

    from core.locks import LockBusy, only_writer
    from tasks.context import open_context

    ctx = open_context()
    with ExitStack() as stack:
        if not ctx.settings.prefect_api_url:
            try:
                stack.enter_context(only_writer(ctx.engine, "run-without-server", patience=0))
            except LockBusy as error:
                raise ValueError(
                    f"another run is under way in {ctx.workspace.root} ({error}), and "
                    "PREFECT_API_URL is not set; overlapping runs need a server: start one with "
                    "`prefect server start` and set PREFECT_API_URL to it, or wait"
                ) from error
        stack.enter_context(quick_flows())
        yield


@contextmanager
def quick_flows() -> Iterator[None]:
    """Flows without the heartbeat thread, which holds up the end of each by up to a second.

    Nothing here listens to it: promises rest on the database, not on a run's state.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep an error of a flow to one line: its cause is said at the end, in words."""
    if record.exc_info and not os.environ.get("HONE_TRACEBACK"):
        record.msg, record.args = f"{record.exc_info[1]}", ()
        record.exc_info = None
    return True
