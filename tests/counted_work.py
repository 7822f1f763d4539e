"""Work that is counted, not timed: the lines of Python that a call runs."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


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
