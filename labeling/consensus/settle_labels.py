"""Answers in force become labels; what they leave open is asked again, then left to a final word.

The whole ledger is looked at each time, so a late edit, a deletion, or an annotator who turns out
unreliable moves the labels of long ago as well. Labels and assignments are closed, never changed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, bindparam, func, insert, select, update

from core.database import now, writing
from core.locks import Token, fence
from labeling.batches.quality_control import GOLD as GOLD_ASKED
from labeling.batches.quality_control import LOOKED_AGAIN
from labeling.consensus.settle import SettlePolicy, settle
from labeling.ledger.gold import METHOD as GOLD
from labeling.ledger.gold import gold_labels
from labeling.ledger.tables import answers, assignments, labels, rounds

CHUNK = 500  # keys in one IN list: every database takes that many
# An answer given in another round does not end these: the question is asked for its own sake.
ASKED_ANEW = (GOLD_ASKED, *LOOKED_AGAIN)


@dataclass(frozen=True)
class LedgerState:
    """What people and the model say now, as consensus needs it."""

    given: (
        pd.DataFrame
    )  # answers in force, skips too: seq, sample_id, annotator, kind, value, round
    probs: pd.DataFrame  # of the model that did not know the label yet
    gold: pd.Series

    def verdicts(self, policy: SettlePolicy, classes: Sequence[str]) -> pd.DataFrame:
        """The label of each sample that somebody answered, or none where it must be asked again."""
        given = self.given[self.given["kind"] != "skip"]
        if given["annotator"].nunique() < 2:  # nobody else could be asked: one is believed
            policy = replace(policy, method="majority")
        found = settle(given, policy, classes=list(classes), probs=self.probs, gold=self.gold)
        return found.set_index("sample_id", drop=False)


def settle_labels(
    engine: Engine, token: Token, policy: SettlePolicy, classes: Sequence[str]
) -> dict[str, int]:
    """Turn the answers in force into labels; return how many were settled, changed, withdrawn.

    A label that changes is closed and a new row stands beside it; a known truth (gold) is never
    touched. An assignment ends when its sample has a label and as many people as were wanted
    answered, or when everybody who saw it skipped it. Where the answers leave it open, one person
    more is wanted, `policy.ask_again` times; then it is disputed, and the next answer decides.
    """
    with engine.connect() as connection:
        standing = load_ledger_state(connection)
        in_force = {
            row.sample_id: row
            for row in connection.execute(select(labels).where(labels.c.replaced_at.is_(None)))
        }
    verdicts = standing.verdicts(policy, classes)
    settled = {row["sample_id"]: row for row in _records(verdicts[verdicts["label"].notna()])}
    known = {key for key, row in in_force.items() if row.method == GOLD}
    new = [
        row for key, row in settled.items() if key not in known and _differs(in_force.get(key), row)
    ]
    gone = sorted(set(in_force) - set(settled) - known)
    with writing(engine) as connection:
        fence(connection, token)
        changed = [row["sample_id"] for row in new if row["sample_id"] in in_force]
        _close_labels(connection, gone + changed)
        _insert_labels(connection, new)
        undecided = set(verdicts.index) - set(settled)
        asked = _Asked(connection, standing.given, undecided, policy)
        counts = asked.settle(labelled=set(settled) | known)
        _close_rounds(connection)
    return {
        "settled": len(new) - len(changed),
        "changed": len(changed),
        "withdrawn": len(gone),
        **counts,
    }


def load_ledger_state(connection: Connection) -> LedgerState:
    """Everything that labels are settled from."""
    return LedgerState(
        given=_load_given(connection),
        probs=_load_probs(connection),
        gold=gold_labels(connection),
    )


def unanswered(
    connection: Connection, asked: pd.DataFrame, policy: SettlePolicy, classes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of `asked`: the assignments nobody answered, and those whose answers do not settle."""
    standing = load_ledger_state(connection)
    answered = set(zip(standing.given["sample_id"], standing.given["round_id"], strict=True))
    is_answered = [
        key in answered for key in zip(asked["sample_id"], asked["round_id"], strict=True)
    ]
    verdicts = standing.verdicts(policy, classes)
    undecided = set(verdicts.loc[verdicts["label"].isna(), "sample_id"])
    fresh = ~pd.Series(is_answered, index=asked.index, dtype=bool)
    return asked[fresh], asked[~fresh & asked["sample_id"].isin(undecided)]


class _Asked:
    """The assignments, and what the answers mean for each."""

    def __init__(
        self,
        connection: Connection,
        given: pd.DataFrame,
        undecided: set[str],
        policy: SettlePolicy,
    ) -> None:
        self._connection, self._policy, self._undecided = connection, policy, undecided
        said = given[given["kind"] != "skip"]
        self._people = said.groupby("sample_id")["annotator"].nunique().to_dict()
        self._in_round = said.groupby(["sample_id", "round_id"])["annotator"].nunique().to_dict()
        self._decided = set(given.loc[given["kind"] == "verdict", "sample_id"])
        skips = given[given["kind"] == "skip"]
        self._skipped = set(skips["sample_id"])
        self._skipped_in = set(zip(skips["sample_id"], skips["round_id"], strict=True))

    def settle(self, labelled: set[str]) -> dict[str, int]:
        """Close what is done with, ask again what is open; return how many of each."""
        open_ = self._connection.execute(
            select(assignments).where(assignments.c.closed_at.is_(None))
        ).all()
        done = [row for row in open_ if row.sample_id in labelled and self._enough(row)]
        skipped = [row for row in open_ if self._only_skipped(row)]
        _end(self._connection, done, "labelled")
        _end(self._connection, skipped, "skipped")
        return {"skipped": len(skipped), **self._ask_again()}

    def _answered_by(self, row: Any) -> int:
        """How many people answered this assignment."""
        if row.reason in ASKED_ANEW:
            return int(self._in_round.get((row.sample_id, row.round_id), 0))
        return int(self._people.get(row.sample_id, 0))

    def _enough(self, row: Any) -> bool:
        answered = self._answered_by(row)
        return answered >= row.wanted or (answered > 0 and row.sample_id in self._decided)

    def _only_skipped(self, row: Any) -> bool:
        if self._answered_by(row):
            return False
        if row.reason in ASKED_ANEW:
            return (row.sample_id, row.round_id) in self._skipped_in
        return row.sample_id in self._skipped

    def _ask_again(self) -> dict[str, int]:
        """Want one person more for what is undecided, or somebody's final word."""
        rows = [row for row in self._newest() if self._answered_by(row) >= row.wanted]
        often = self._policy.ask_again
        again = [row for row in rows if row.asked_again < often]
        rest = [row for row in rows if row.asked_again >= often]
        disputed = [row for row in rest if row.disputed_at is None or row.closed_at is not None]
        for row in again:
            self._reopen(
                row, wanted=self._answered_by(row) + 1, asked_again=assignments.c.asked_again + 1
            )
        for row in disputed:
            self._reopen(row, disputed_at=row.disputed_at or now())
        return {"asked again": len(again), "disputed": len(disputed)}

    def _newest(self) -> list[Any]:
        """The assignment to go on with for each undecided sample: the open one, else the last."""
        found: dict[str, Any] = {}
        for keys in _chunks(sorted(self._undecided)):
            query = (
                select(assignments)
                .where(assignments.c.sample_id.in_(keys), assignments.c.reason != "gold")
                .where(assignments.c.sent_at.is_not(None))
                .order_by(assignments.c.closed_at.is_(None), assignments.c.round_id)
            )
            found |= {row.sample_id: row for row in self._connection.execute(query)}
        return [row for row in found.values() if row.outcome != "deleted"]

    def _reopen(self, row: Any, **values: Any) -> None:
        mine = _key(row)
        self._connection.execute(
            update(assignments).where(*mine).values(closed_at=None, outcome=None, **values)
        )
        self._connection.execute(
            update(rounds).where(rounds.c.round_id == row.round_id).values(closed_at=None)
        )


def _key(row: Any) -> tuple[Any, Any]:
    return assignments.c.round_id == row.round_id, assignments.c.sample_id == row.sample_id


def _load_given(connection: Connection) -> pd.DataFrame:
    """The answers in force; one that came after its sample was disputed is a final word."""
    columns = answers.c["seq", "sample_id", "annotator", "kind", "value", "round_id", "seen_at"]
    found = connection.execute(select(*columns).where(answers.c.replaced_at.is_(None)))
    given = pd.DataFrame(found.all(), columns=list(found.keys()), dtype=object)
    disputed = dict(
        connection.execute(
            select(assignments.c.sample_id, func.min(assignments.c.disputed_at))
            .where(assignments.c.disputed_at.is_not(None))
            .group_by(assignments.c.sample_id)
        )
        .tuples()
        .all()
    )
    since = given["sample_id"].map(disputed)
    decides = (given["kind"] == "answer") & since.notna() & (given["seen_at"] > since.fillna(""))
    given["kind"] = given["kind"].mask(decides, "verdict")
    return given.drop(columns="seen_at").astype({"seq": int})


def _load_probs(connection: Connection) -> pd.DataFrame:
    """What the model said of each sample when it was last chosen, before its label was known."""
    query = (
        select(assignments.c.sample_id, assignments.c.probs)
        .where(assignments.c.probs.is_not(None), assignments.c.reason.not_in(ASKED_ANEW))
        .order_by(assignments.c.round_id)
    )
    said: Mapping[str, str] = dict(connection.execute(query).tuples().all())
    found = pd.DataFrame([json.loads(text) for text in said.values()], index=pd.Index(list(said)))
    found.index.name = "sample_id"
    return found.fillna(0.0)


def _end(connection: Connection, ended: Sequence[Any], outcome: str) -> None:
    if ended:
        ends = update(assignments).where(
            assignments.c.round_id == bindparam("in_round"),
            assignments.c.sample_id == bindparam("sample"),
        )
        keys = [{"in_round": row.round_id, "sample": row.sample_id} for row in ended]
        connection.execute(ends.values(closed_at=now(), outcome=outcome), keys)


def _close_labels(connection: Connection, sample_ids: Sequence[str]) -> None:
    for keys in _chunks(sample_ids):
        connection.execute(
            update(labels)
            .where(labels.c.sample_id.in_(keys), labels.c.replaced_at.is_(None))
            .values(replaced_at=now())
        )


def _insert_labels(connection: Connection, settled: Sequence[dict[str, Any]]) -> None:
    asked_in = dict(
        connection.execute(
            select(assignments.c.sample_id, assignments.c.round_id).order_by(assignments.c.round_id)
        )
        .tuples()
        .all()
    )
    rows = [
        {
            "sample_id": row["sample_id"],
            "round_id": asked_in.get(row["sample_id"]),
            "label": row["label"],
            "trust": float(row["trust"]),
            "annotators": json.dumps(list(row["annotators"])),
            "answers": json.dumps([int(seq) for seq in row["answers"]]),
            "method": row["method"],
            "settled_at": now(),
        }
        for row in settled
    ]
    if rows:
        connection.execute(insert(labels), rows)


def _close_rounds(connection: Connection) -> None:
    busy = select(assignments.c.round_id).where(assignments.c.closed_at.is_(None))
    connection.execute(
        update(rounds)
        .where(rounds.c.closed_at.is_(None), rounds.c.sent_at.is_not(None))
        .where(rounds.c.round_id.not_in(busy))
        .values(closed_at=now())
    )


def _differs(standing: Any, row: dict[str, Any]) -> bool:
    if standing is None:
        return True
    rests_on = sorted(int(seq) for seq in row["answers"])
    return (standing.label, sorted(json.loads(standing.answers))) != (row["label"], rests_on)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
