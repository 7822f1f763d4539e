"""What a service records of a trial: what a challenger answered beside the champion, and counts.

A record is JSON in a segment of its own folder, and becomes rows of the database when it is
drained. It says how many images were passed over, so that nobody takes a part for the whole.
"""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from core.moments import moment
from core.text import storable

FOLDER = "shadow"  # in that of the traffic
HEX = re.compile(r"[0-9a-f]{32}")
MOST_ANSWERS = 64  # of one record
LARGEST = 2**31 - 1  # of a count: what both databases take
ERROR_LENGTH = 200


@dataclass(frozen=True)
class ShadowAnswer:
    """What the challenger answered to one image, beside what was served."""

    prediction_id: str  # of what was served
    sample_id: str
    source: str | None
    served_at: str
    served_label: str
    served_review: bool
    label: str | None  # None: it failed
    confidence: float | None
    needs_review: bool | None
    error: str | None = None


@dataclass(frozen=True)
class Live:
    """How many images a model answered to clients, and how many it failed on."""

    answered: int = 0
    failed: int = 0


@dataclass(frozen=True)
class ShadowRecord:
    """What a worker has to record of a trial since its last record."""

    record_id: str
    release: int
    champion: str
    challenger: str
    at: str
    passed_over: int = 0  # images that the challenger was not asked about
    champion_live: Live = Live()
    challenger_live: Live = Live()
    timings: tuple[tuple[float, float], ...] = ()  # seconds of champion and challenger, same image
    answers: tuple[ShadowAnswer, ...] = field(default=(), repr=False)


def record_of(record: ShadowRecord) -> bytes:
    """The JSON of a record."""
    return json.dumps(asdict(record), allow_nan=False).encode()


def shadow_record(fields: dict[str, Any]) -> ShadowRecord:
    """The record of fields that `fields_of_record` checked."""
    return ShadowRecord(
        **{
            **fields,
            "champion_live": Live(**fields["champion_live"]),
            "challenger_live": Live(**fields["challenger_live"]),
            "timings": tuple((first, second) for first, second in fields["timings"]),
            "answers": tuple(ShadowAnswer(**one) for one in fields["answers"]),
        }
    )


def fields_of_record(text: bytes) -> dict[str, Any] | None:
    """The fields of a record; None where another program wrote them, whatever the checksum says."""
    try:
        fields: dict[str, Any] = json.loads(text)
        record = shadow_record(fields)
        fits = _is_record(record) and all(map(_is_answer, record.answers))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return fields if fits else None


def _is_record(record: ShadowRecord) -> bool:
    lives = record.champion_live, record.challenger_live
    counts = [record.release, record.passed_over]
    counts += [count for one in lives for count in (one.answered, one.failed)]
    seconds = [one for pair in record.timings for one in pair]
    return (
        HEX.fullmatch(record.record_id) is not None
        and all(map(_is_text, (record.champion, record.challenger)))
        and moment(record.at) == record.at
        and all(type(one) is int and 0 <= one <= LARGEST for one in counts)
        and all(type(one) is float and math.isfinite(one) and one >= 0 for one in seconds)
        and max(len(record.answers), len(record.timings)) <= MOST_ANSWERS
    )


def _is_answer(answer: ShadowAnswer) -> bool:
    texts = answer.prediction_id, answer.sample_id, answer.served_label
    optional = answer.source, answer.label, answer.error
    confidence = answer.confidence
    return (
        all(map(_is_text, texts))
        and all(one is None or _is_text(one) for one in optional)
        and moment(answer.served_at) == answer.served_at
        and type(answer.served_review) is bool
        and (answer.label is None) == (answer.error is not None)
        and (answer.needs_review is None or type(answer.needs_review) is bool)
        and (confidence is None or (type(confidence) is float and 0 <= confidence <= 1))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and storable(value) == value
