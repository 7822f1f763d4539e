"""How many audit labels there are, and how many a verdict still needs."""

import math
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from core.text import counted
from labeling.audit.numbers import Part
from labeling.ledger.reasons import Origin, SampleState
from labeling.ledger.tables import audit, sample_states


@dataclass(frozen=True)
class AuditProgress:
    """The audit labels of a workspace beside the number without which every verdict is HOLD.

    The first counts are of the gate's part; the reporting part is beside it.
    """

    needed: int  # the gate's min_rows
    labelled: int
    open: int  # audit samples before annotators that have no label yet
    left: int  # audit samples that nobody was asked about yet
    reported: int = 0  # labels of the reporting part
    report_open: int = 0
    report_left: int = 0

    @property
    def missing(self) -> int:
        """Audit labels that are neither there nor asked for."""
        return max(0, self.needed - self.labelled - self.open)

    @property
    def verdict_possible(self) -> bool:
        """Whether enough audit samples are labelled."""
        return self.labelled >= self.needed

    @property
    def exhausted(self) -> bool:
        """Whether the images that came in are too few for as many audit labels."""
        return self.missing > self.left

    def missing_with_report(self, report_share: float) -> int:
        """Audit labels to ask for until a verdict is possible, the reporting part's among them."""
        if not self.missing:
            return 0
        report = math.ceil(round(self.needed * report_share / (1 - report_share), 9))
        return self.missing + max(0, report - self.reported - self.report_open)

    def sentence(self, *, per_round: int | None = None) -> str:
        """The numbers for people; with the audit samples of one round also how many rounds."""
        parts = [f"{self.labelled} are labelled"]
        if not self.verdict_possible:
            parts.append(f"{self.open} are asked for now")
        if self.missing:
            parts.append(f"{self.missing} are still missing")
        text = f"A verdict needs {self.needed} audit labels: {', '.join(parts)}"
        if self.exhausted:
            return (
                f"{text}, and only {self.left} more images are in this part of the audit: ingest "
                "more, or raise `share` in [audit] of hone.toml"
            )
        if not self.missing or per_round is None:
            return text
        if per_round == 0:
            return f"{text}, and rounds like this one ask for none"
        rounds = math.ceil(self.missing / per_round)
        return f"{text} (about {counted(rounds, 'more round')} of this size)"


def load_audit_progress(
    connection: Connection, needed: int, *, origin: Origin | None = None
) -> AuditProgress:
    """How many audit labels there are and are asked for, beside the number that is `needed`.

    With an `origin`, those of its samples alone.

    Labels from before groups had numbers count as long as the others are not more.
    """
    is_former = audit.c.number.is_(None)
    query = (
        select(audit.c.part, is_former, sample_states.c.state, func.count())
        .join(sample_states, sample_states.c.sample_id == audit.c.sample_id)
        .group_by(audit.c.part, is_former, sample_states.c.state)
    )
    if origin is not None:
        query = query.where(sample_states.c.origin == origin)
    counts = {
        (part or Part.GATE, bool(former), state): rows
        for part, former, state, rows in connection.execute(query).tuples()
    }

    def count(part: Part, state: SampleState, *, former: bool = False) -> int:
        return counts.get((part, former, state), 0)

    labelled, reported = (count(part, SampleState.LABELLED) for part in (Part.GATE, Part.REPORT))
    former = count(Part.GATE, SampleState.LABELLED, former=True)
    if former >= labelled + reported:
        labelled += former
    return AuditProgress(
        needed,
        labelled,
        open=count(Part.GATE, SampleState.OPEN) + count(Part.GATE, SampleState.OPEN, former=True),
        left=count(Part.GATE, SampleState.HELD),
        reported=reported,
        report_open=count(Part.REPORT, SampleState.OPEN),
        report_left=count(Part.REPORT, SampleState.HELD),
    )
