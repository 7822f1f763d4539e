"""Work that is counted, not timed: the lines of Python that a call runs."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from sqlalchemy import Connection


def lines_run(act: Callable[[], object], *, file: str | None = None) -> tuple[object, int]:
    """The result of `act`, and how many lines of Python it ran, of `file` alone if one is named."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if file is None or frame.f_code.co_filename == file else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return act(), count
    finally:
        sys.settrace(before)


def instructions_run(connection: Connection, work: Callable[[], object]) -> int:
    """The instructions that SQLite runs for the statements of some work: what rows read cost."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(step, 1)
    try:
        work()
    finally:
        driver.set_progress_handler(None, 1)
    return steps
