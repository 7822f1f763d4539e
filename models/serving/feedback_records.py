"""A truth about a served prediction, as a client or a file gives it: checked, and its record.

What is no truth is refused by name; whether the prediction and the class are known is looked at
when it is taken into the database.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from core.errors import HoneError
from core.moments import moment
from core.text import CONTROLS, short, storable

PREDICTION_ID = re.compile(r"[0-9a-f]{32}")
FIELDS = ("prediction_id", "truth", "who", "source", "strength", "at")
LONGEST_TRUTH = 1_000  # characters, as of a class name
LONGEST_NAME = 200  # of who, and of a source
CLOCKS_DIFFER = timedelta(hours=1)  # of two machines, at most: a time beyond is a wrong clock
NOBODY = "unknown"  # who, where a weak or implicit truth names no person


class Strength(StrEnum):
    """How sure a truth is, the surest first."""

    CONFIRMED = "confirmed"  # somebody looked and decides: it judges, and becomes an answer
    WEAK = "weak"  # a user's correction or approval: it trains with less weight
    IMPLICIT = "implicit"  # concluded from what somebody did


class FeedbackRefused(HoneError):
    """A truth that is refused: a one-word reason and a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Feedback:
    """One truth about one prediction. The same content has the same id."""

    outcome_id: str
    prediction_id: str
    truth: str
    who: str
    source: str
    strength: str
    at: str | None  # when it was decided, by the clock of whoever gives it
    received_at: str


def checked_feedback(given: Any, *, received_at: str, source: str, under: str = "") -> Feedback:
    """The truth in a JSON object or in the row of a file; what is none is a `FeedbackRefused`.

    `source` is that of a truth without one. A truth without a time is known by what it is given
    `under`, a request's id and its place in it: so a retry adds nothing, and a person may return to
    an earlier answer.
    """
    if not isinstance(given, Mapping):
        raise FeedbackRefused("MALFORMED", f"{short(given)} is no object with {', '.join(FIELDS)}")
    unknown = sorted(str(name) for name in given if name not in FIELDS)
    if unknown:
        known = ", ".join(FIELDS)
        raise FeedbackRefused("UNKNOWN_FIELD", f"field {short(unknown[0])}; known are {known}")
    texts = {name: _text(given, name, longest) for name, longest in _LONGEST.items()}
    if not PREDICTION_ID.fullmatch(texts["prediction_id"]):
        what = f"prediction_id is {short(texts['prediction_id'])}"
        detail = f"{what}; send the 32 digits that /predict answered"
        raise FeedbackRefused("BAD_PREDICTION_ID", detail)
    if not texts["truth"]:
        raise FeedbackRefused("NO_TRUTH", "truth is empty; send the class that is right")
    strength = _strength(texts["strength"] or Strength.WEAK)
    if strength is Strength.CONFIRMED and texts["who"] in ("", NOBODY):
        detail = "a confirmed truth needs `who` takes responsibility for it; or send it as weak"
        raise FeedbackRefused("NOBODY", detail)
    at = _time(given.get("at"), received_at)
    whole = {
        **texts, "who": texts["who"] or NOBODY, "source": texts["source"] or source,
        "strength": str(strength),
    }  # fmt: skip
    identity = [*(whole[name] for name in FIELDS if name != "at"), at, "" if at else under]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return Feedback(outcome_id=digest, **whole, at=at, received_at=received_at)


def record_of(feedback: Feedback) -> bytes:
    """The JSON of the truth's record in the spool."""
    return json.dumps(asdict(feedback), allow_nan=False).encode()


def fields_of_record(text: bytes) -> dict[str, Any] | None:
    """The fields of a record; None where another program wrote them, whatever the checksum says."""
    try:
        fields = json.loads(text)
        feedback = Feedback(**fields)
        values = [value for name, value in fields.items() if name != "at" or value is not None]
        if not all(isinstance(value, str) and storable(value) == value for value in values):
            return None
        received = moment(feedback.received_at) == feedback.received_at
        fits = received and moment(feedback.at) == feedback.at and Strength(feedback.strength)
    except (ValueError, TypeError, RecursionError):
        return None
    return fields if fits and PREDICTION_ID.fullmatch(feedback.prediction_id) else None


_LONGEST = {"prediction_id": LONGEST_NAME, "truth": LONGEST_TRUTH, "who": LONGEST_NAME,
            "source": LONGEST_NAME, "strength": LONGEST_NAME}  # fmt: skip


def _text(given: Mapping[str, Any], name: str, longest: int) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FeedbackRefused("MALFORMED", f"{name} is {short(value)}; send a text")
    if len(value) > longest or storable(value) != value or CONTROLS.search(value):
        detail = f"{name} is {short(value)}; up to {longest} printable characters are taken"
        raise FeedbackRefused("MALFORMED", detail)
    return value.strip()


def _strength(text: str) -> Strength:
    try:
        return Strength(text)
    except ValueError:
        known = ", ".join(Strength)
        detail = f"strength is {short(text)}; send one of {known}"
        raise FeedbackRefused("BAD_STRENGTH", detail) from None


def _time(value: Any, received_at: str) -> str | None:
    """The time as UTC text; one in the future is no time of a decision."""
    try:
        at = moment(value)
    except ValueError:
        detail = f"at is {short(value)}; write it like 2026-11-21T10:00:00Z, or leave it out"
        raise FeedbackRefused("BAD_TIME", detail) from None
    if at is not None and _beyond(at, received_at):
        detail = f"at is {at}, and now it is {received_at}; correct the clock, or leave it out"
        raise FeedbackRefused("BAD_TIME", detail)
    return at


def _beyond(at: str, received_at: str) -> bool:
    return datetime.fromisoformat(at) - datetime.fromisoformat(received_at) > CLOCKS_DIFFER
