"""Values in messages: short, in one line, and as every database and terminal takes them."""

import re
import reprlib
from collections.abc import Sequence

LISTED = 20  # names in a message at most
LENGTH = 80  # characters of a value in a message
# What a terminal obeys, and what turns the direction of writing; line ends and tabs stay.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SHORT = reprlib.Repr()  # stops early, however deep and long a value is
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LENGTH
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = LISTED


def storable(text: str) -> str:
    """The text as every database takes it: without half characters and zero bytes."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """The text as a terminal shows it and does not obey it: names come from strangers."""
    return CONTROLS.sub(lambda sign: ascii(sign[0])[1:-1], storable(text))


def listed(names: Sequence[str]) -> str:
    """The names, the first of many."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return storable(", ".join(names[:LISTED])) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun: "no files", "1 file", "1,200 files"."""
    return f"{f'{count:,}' if count else 'no'} {noun}{'' if count == 1 else 's'}"


def short(value: object) -> str:
    """What a value looks like, in one line; the work does not grow with the value."""
    words = repr(value[:LENGTH]) if isinstance(value, str) else _SHORT.repr(value)
    return storable(words if len(words) <= LENGTH else f"{words[: LENGTH - 3]}...")
