"""The duel under way, for people: how far it is, and where it leads."""

from dataclasses import dataclass

from sqlalchemy import Connection

from core.intents import open_intents
from core.text import counted
from labeling.ledger import duels

WAITING = "judge"  # kind of intent: a challenger that is judged once the duel under way has ended


@dataclass(frozen=True)
class DuelStanding:
    """Where the duel under way stands."""

    duel_id: str
    champion: str
    challenger: str
    answers: int  # counted
    open: int  # asked and not counted
    expected_answers: int
    likely: str | None  # the outcome, None while nobody can tell
    alpha: float
    spent: float  # of the life's alpha, with this duel
    left: float
    waiting: list[str]  # challengers that are judged after it

    def sentence(self) -> str:
        """The numbers for people."""
        likely = f"likely {self.likely}" if self.likely else "too early to say"
        waiting = f"; {', '.join(self.waiting)} waits for its end" if self.waiting else ""
        return (
            f"{self.challenger} against {self.champion}, {counted(self.answers, 'answer')} of "
            f"about {self.expected_answers:,}, {self.open:,} open; {likely}; error of a wrong "
            f"promotion {self.alpha:.4f}, for life {self.spent:.4f} spent and {self.left:.4f} "
            f"left{waiting}"
        )


def duel_standing(connection: Connection) -> DuelStanding | None:
    """Where the duel under way stands; None without one."""
    duel = duels.open_duel(connection)
    if duel is None:
        return None
    from models.judging.duel_record import DuelRecord  # numpy and scipy, for a duel only

    state = DuelRecord.from_json(duel.plan).state(duels.load_duel_samples(connection, duel.duel_id))
    return DuelStanding(
        duel_id=duel.duel_id,
        champion=duel.champion,
        challenger=duel.challenger,
        answers=state.answers,
        open=duels.count_waiting(connection, duel.duel_id),
        expected_answers=state.expected_answers,
        likely=None if state.likely is None else str(state.likely),
        alpha=state.alpha,
        spent=state.spent,
        left=state.left,
        waiting=sorted(open_intents(connection, WAITING)),
    )
