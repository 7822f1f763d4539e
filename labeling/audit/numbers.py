"""The permanent number of a group of near-duplicates, and the part of the audit it belongs to.

Both are keyed hashes of the sample that founded the group, so that they never change: not when
other samples come, not when a share is raised. Without the key nobody can tell them, and no
strategy gets it.
"""

import hashlib
import hmac
from enum import StrEnum

from pydantic import Field

from core.configuration import configuration

_BITS = 53  # of a float


class Part(StrEnum):
    """What the label of an audit row is used for; never for both."""

    GATE = "gate"  # verdicts
    REPORT = "report"  # the figures that are shown


@configuration("audit")
class AuditPolicy:
    """Which images are measured on instead of trained on."""

    share: float = Field(  # more can be measured, fewer be trained on
        default=0.2,
        ge=0,
        lt=1,
        description="share of all groups of near-duplicates that is never trained on",
    )
    report_share: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="share of these that no verdict uses: the figure shown comes from them",
    )


def audit_number(key: bytes, sample_id: str) -> float:
    """The number in [0, 1) of the group that this sample founded: below the share is the audit."""
    return _number(key, "number", sample_id)


def part_of(key: bytes, sample_id: str, report_share: float) -> Part:
    """What the label of this audit sample is used for."""
    return Part.REPORT if _number(key, "part", sample_id) < report_share else Part.GATE


def _number(key: bytes, purpose: str, sample_id: str) -> float:
    digest = hmac.digest(key, f"{purpose}:{sample_id}".encode(), hashlib.sha256)
    return (int.from_bytes(digest[:8]) >> (64 - _BITS)) / 2**_BITS
