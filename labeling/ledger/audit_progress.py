"""How many audit labels there are, and how many a verdict still needs."""

import math
from dataclasses import dataclass

from sqlalchemy import Connection

from core.text import counted
from labeling.ledger.overview import ledger_counts


@dataclass(frozen=True)
class AuditProgress:
    """The audit labels of a workspace beside the number without which every verdict is HOLD."""

    needed: int  # the gate's min_rows
    labelled: int
    open: int  # audit samples before annotators that have no label yet

    @property
    def missing(self) -> int:
        """Audit labels that are neither there nor asked for."""
        return max(0, self.needed - self.labelled - self.open)

    @property
    def verdict_possible(self) -> bool:
        """Whether enough audit samples are labelled."""
        return self.labelled >= self.needed

    def sentence(self, *, per_round: int | None = None) -> str:
        """The numbers for people; with the audit samples of one round also how many rounds."""
        parts = [f"{self.labelled} are labelled"]
        if not self.verdict_possible:
            parts.append(f"{self.open} are asked for now")
        if self.missing:
            parts.append(f"{self.missing} are still missing")
        text = f"A verdict needs {self.needed} audit labels: {', '.join(parts)}"
        if not self.missing or per_round is None:
            return text
        if per_round == 0:
            return f"{text}, and rounds like this one ask for none"
        rounds = math.ceil(self.missing / per_round)
        return f"{text} (about {counted(rounds, 'more round')} of this size)"


def load_audit_progress(connection: Connection, needed: int) -> AuditProgress:
    """How many audit labels there are and are asked for, beside the number that is `needed`."""
    counts = ledger_counts(connection)
    return AuditProgress(needed, counts.audit_labelled, counts.audit_open)
