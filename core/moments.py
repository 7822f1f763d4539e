"""Times that people and other programs write, as the text that every table holds."""

from datetime import UTC, datetime
from typing import Any

from core.text import short


def moment(value: Any) -> str | None:
    """A time as UTC text, None for none; what is no time is a `ValueError`."""
    if not isinstance(value, str | None):
        raise ValueError(f"{short(value)} is no text")
    if value is None or not value.strip():
        return None
    time = datetime.fromisoformat(value.strip())
    try:
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value} is before or after the years that a time can have") from error
    return time.isoformat(timespec="microseconds")
