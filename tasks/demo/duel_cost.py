"""How many answers a duel used, beside the random audit that would have shown as much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.text import counted
from labeling.ledger import duels
from models.judging.exact_tests import gain_p
from tasks.context import open_context

MOST = 100_000  # rows: nobody labels a larger audit for one verdict


@dataclass(frozen=True)
class DuelCost:
    """What the verdict of a duel took."""

    outcome: str
    answers: int
    audit_rows: int | None  # None: no audit would show a gain, or only one beyond MOST

    def sentence(self) -> str:
        """Both numbers for people."""
        text = f"duel: {self.outcome} after {counted(self.answers, 'answer')}"
        if self.audit_rows is None or self.outcome != "PROMOTE":
            return text
        return f"{text}; a random audit would have needed about {self.audit_rows:,} labels"


def duel_cost(verdict_id: str) -> DuelCost | None:
    """The cost of the duel that ended with this verdict; None for a verdict without one."""
    with open_context().engine.connect() as connection:
        duel = duels.duel_of_verdict(connection, verdict_id)
        if duel is None:
            return None
        values = duels.load_duel_samples(connection, duel.duel_id)["value"]
    wins, losses = int((values == 1).sum()), int((values == -1).sum())
    rows = audit_rows_alike(wins, losses, int(values.notna().sum()), duel.plan["plan"])
    return DuelCost(str(duel.outcome), int(values.notna().sum()), rows)


def audit_rows_alike(wins: int, losses: int, answers: int, plan: Mapping[str, Any]) -> int | None:
    """The random rows on which McNemar's test shows such a gain about every other time.

    It has the duel's alpha, and the models differ on as large a share as when the duel began.
    """
    strata = plan["strata"]
    differing = sum(one["disagreements"] for one in strata) / sum(one["scored"] for one in strata)

    def is_shown(rows: int) -> bool:
        won, lost = (round(rows * differing * count / answers) for count in (wins, losses))
        return gain_p(won, lost) <= plan["alpha"]

    if wins <= losses or not is_shown(MOST):
        return None
    low, high = 0, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_shown(middle) else (middle, high)
    return high
