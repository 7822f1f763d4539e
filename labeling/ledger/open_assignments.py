"""Open assignments: what the answers mean for each, and the rounds they belong to."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from core import journal
from core.database import now
from core.rows import chunks
from labeling.ledger.reasons import ASKED_FOR_ITSELF, AnswerKind, Outcome, Reason
from labeling.ledger.tables import assignments, rounds


def settle_assignments(
    connection: Connection,
    given: pd.DataFrame,
    *,
    labelled: Collection[str],
    undecided: Collection[str],
    ask_again: int,
) -> dict[str, int]:
    """Close what is done with, ask again what is open, close rounds; return how many of each.

    `given` are the answers in force (`settlement.LedgerState`) of the samples that were settled
    just now: `labelled` have a label, `undecided` have answers and none.
    """
    asked = _Asked(connection, given, set(undecided), ask_again)
    counts = asked.settle(set(labelled))
    _close_rounds(connection)
    return counts


class _Asked:
    """The assignments, and what the answers mean for each."""

    def __init__(
        self,
        connection: Connection,
        given: pd.DataFrame,
        undecided: set[str],
        ask_again: int,
    ) -> None:
        self._connection, self._undecided, self._often = connection, undecided, ask_again
        votes = given[given["kind"] != AnswerKind.SKIP]
        self._annotators = votes.groupby("sample_id")["annotator"].nunique().to_dict()
        self._in_round = votes.groupby(["sample_id", "round_id"])["annotator"].nunique().to_dict()
        self._decided = set(given.loc[given["kind"] == AnswerKind.FINAL, "sample_id"])
        skips = given[given["kind"] == AnswerKind.SKIP]
        self._skipped = set(skips["sample_id"])
        self._skipped_in = set(zip(skips["sample_id"], skips["round_id"], strict=True))

    def settle(self, labelled: set[str]) -> dict[str, int]:
        """Close what is done with, ask again what is open; return how many of each."""
        open_ = self._connection.execute(
            select(assignments).where(assignments.c.closed_at.is_(None))
        ).all()
        done = [row for row in open_ if row.sample_id in labelled and self._enough(row)]
        skipped = [row for row in open_ if self._only_skipped(row)]
        _end(self._connection, done, Outcome.LABELLED)
        _end(self._connection, skipped, Outcome.SKIPPED)
        return {"skipped": len(skipped), **self._ask_again()}

    def _answered_by(self, row: Any) -> int:
        """How many annotators answered this assignment."""
        if row.reason in ASKED_FOR_ITSELF:
            return int(self._in_round.get((row.sample_id, row.round_id), 0))
        return int(self._annotators.get(row.sample_id, 0))

    def _enough(self, row: Any) -> bool:
        answered = self._answered_by(row)
        return answered >= row.required_annotators or (
            answered > 0 and row.sample_id in self._decided
        )

    def _only_skipped(self, row: Any) -> bool:
        if self._answered_by(row):
            return False
        if row.reason in ASKED_FOR_ITSELF:
            return (row.sample_id, row.round_id) in self._skipped_in
        return row.sample_id in self._skipped

    def _ask_again(self) -> dict[str, int]:
        """Require one annotator more for what is undecided, or a final word."""
        rows = [row for row in self._newest() if self._answered_by(row) >= row.required_annotators]
        again = [row for row in rows if row.asked_again < self._often]
        rest = [row for row in rows if row.asked_again >= self._often]
        disputed = [row for row in rest if row.disputed_at is None or row.closed_at is not None]
        self._reopen(
            {
                **_key(row),
                "required_annotators": self._answered_by(row) + 1,
                "asked_again": row.asked_again + 1,
            }
            for row in again
        )
        self._reopen({**_key(row), "disputed_at": row.disputed_at or now()} for row in disputed)
        return {"asked again": len(again), "disputed": len(disputed)}

    def _newest(self) -> list[Any]:
        """The assignment to go on with for each undecided sample: the open one, else the last."""
        newest: dict[str, Any] = {}
        for keys in chunks(sorted(self._undecided)):
            query = (
                select(assignments)
                .where(assignments.c.sample_id.in_(keys), assignments.c.reason != Reason.GOLD)
                .where(assignments.c.sent_at.is_not(None))
                .order_by(assignments.c.closed_at.is_(None), assignments.c.round_id)
            )
            newest |= {row.sample_id: row for row in self._connection.execute(query)}
        return [row for row in newest.values() if row.outcome != Outcome.DELETED]

    def _reopen(self, changed: Iterable[dict[str, Any]]) -> None:
        rows = [{**row, "closed_at": None, "outcome": None} for row in changed]
        journal.update_rows(self._connection, assignments, rows)
        for keys in chunks(sorted({row["round_id"] for row in rows})):
            closed = rounds.c.round_id.in_(keys), rounds.c.closed_at.is_not(None)
            journal.update(self._connection, rounds, *closed, closed_at=None)


def _key(row: Any) -> dict[str, Any]:
    return {"round_id": row.round_id, "sample_id": row.sample_id}


def _end(connection: Connection, ended: Sequence[Any], outcome: str) -> None:
    closed = {"closed_at": now(), "outcome": outcome}
    journal.update_rows(connection, assignments, [{**_key(row), **closed} for row in ended])


def _close_rounds(connection: Connection) -> None:
    busy = select(assignments.c.round_id).where(assignments.c.closed_at.is_(None))
    ended = rounds.c.closed_at.is_(None), rounds.c.sent_at.is_not(None)
    journal.update(connection, rounds, *ended, rounds.c.round_id.not_in(busy), closed_at=now())
