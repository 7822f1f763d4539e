"""Answers in force become labels; what they leave open is asked again, then left to a final word.

A pass settles the samples whose answers changed since the last one, together with the newest
answers, which tell how reliable each annotator is: its cost follows what is new. Everything is
settled together, so that labels of long ago move with what is now known of their annotators, while
the ledger is small, when it has grown by a tenth, and when the policy, the classes or gold changed.
Labels and assignments are closed, never changed.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine

from core.database import writing
from core.locks import Token, fence
from core.rows import records
from labeling.consensus.settle import SettlePolicy
from labeling.kinds import DEFAULT, KINDS, Kind
from labeling.ledger import open_assignments, settlement
from labeling.ledger.gold import METHOD as GOLD
from labeling.ledger.pending import clear_pending, pending_samples
from labeling.ledger.reasons import AnswerKind
from labeling.ledger.settlement import FullPass, LedgerState

NEWEST = 2_000  # answers that tell how reliable annotators are, when not all are looked at
GROWTH = 1.1  # the ledger is settled as a whole when it has grown by a tenth: cost follows growth


@dataclass(frozen=True)
class _Pass:
    """What one pass looks at: these samples, or all; and what is known of the annotators."""

    sample_ids: set[str] | None
    annotators: int  # who answered in the last full pass

    @property
    def is_full(self) -> bool:
        return self.sample_ids is None


def settle_labels(
    engine: Engine,
    token: Token,
    policy: SettlePolicy,
    classes: Sequence[str],
    kind: Kind = KINDS[DEFAULT],
) -> dict[str, int]:
    """Turn the answers in force into labels; return how many were settled, changed, withdrawn.

    A label that changes is closed and a new row stands beside it; a known truth (gold) is never
    touched. An assignment ends when its sample has a label and as many annotators as required
    answered, or when everybody asked skipped it. Where the answers leave it open, one annotator
    more is asked, `policy.ask_again` times; then it is disputed, and the next answer decides.
    """
    with engine.connect() as connection:
        pending = pending_samples(connection)
        planned = _plan(connection, pending, policy, classes)
        if not planned.is_full and not planned.sample_ids:
            return dict.fromkeys(_COUNTS, 0)
        state = settlement.load_ledger_state(connection, planned.sample_ids)
        in_force = settlement.labels_in_force(connection, planned.sample_ids)
        cited = settlement.cited_answers(connection, [row.seq for row in in_force.values()])
    consensus = resolve(state, policy, classes, kind, annotators=planned.annotators)
    settled = {row["sample_id"]: row for row in records(consensus[consensus["label"].notna()])}
    known = {key for key, row in in_force.items() if row.method == GOLD}
    new = [
        row
        for key, row in settled.items()
        if key not in known and _differs(in_force.get(key), cited, row)
    ]
    withdrawn = sorted(set(in_force) - set(settled) - known)
    with writing(engine) as connection:
        fence(connection, token)
        changed = [row["sample_id"] for row in new if row["sample_id"] in in_force]
        settlement.close_labels(connection, withdrawn + changed)
        settlement.insert_labels(connection, new)
        counts = open_assignments.settle_assignments(
            connection,
            state.answers,
            labelled=set(settled) | known,
            undecided=set(consensus.index) - set(settled),
            ask_again=policy.ask_again,
        )
        clear_pending(connection, pending)
        if planned.is_full:
            _remember(connection, state, policy, classes)
    moved = (len(new) - len(changed), len(changed), len(withdrawn))
    return dict(zip(_COUNTS, moved, strict=False)) | counts


_COUNTS = ("settled", "changed", "withdrawn", "skipped", "asked again", "disputed")


def resolve(
    state: LedgerState,
    policy: SettlePolicy,
    classes: Sequence[str],
    kind: Kind = KINDS[DEFAULT],
    *,
    annotators: int = 0,
) -> pd.DataFrame:
    """The label of each answered sample, as its kind resolves them; none: ask again.

    With one annotator, of `annotators` and those of these answers, nobody else could be asked:
    that one is believed.
    """
    given = state.answers[state.answers["kind"] != AnswerKind.SKIP]
    if max(annotators, given["annotator"].nunique()) < 2:
        policy = replace(policy, method="majority")
    consensus = kind.resolve(
        given, policy, classes=list(classes), probs=state.probs, gold=state.gold
    )
    return consensus.set_index("sample_id", drop=False)


def unanswered(
    connection: Connection,
    asked: pd.DataFrame,
    policy: SettlePolicy,
    classes: Sequence[str],
    kind: Kind = KINDS[DEFAULT],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of `asked`: the assignments nobody answered, and those whose answers do not settle."""
    relevant: set[str] | None = None
    if settlement.last_answer(connection) > NEWEST:
        relevant = settlement.newest_answered(connection, NEWEST) | set(asked["sample_id"])
    state = settlement.load_ledger_state(connection, relevant)
    answered = set(zip(state.answers["sample_id"], state.answers["round_id"], strict=True))
    is_answered = [
        key in answered for key in zip(asked["sample_id"], asked["round_id"], strict=True)
    ]
    consensus = resolve(state, policy, classes, kind)
    undecided = set(consensus.loc[consensus["label"].isna(), "sample_id"])
    fresh = ~pd.Series(is_answered, index=asked.index, dtype=bool)
    return asked[fresh], asked[~fresh & asked["sample_id"].isin(undecided)]


def _plan(
    connection: Connection, pending: Collection[str], policy: SettlePolicy, classes: Sequence[str]
) -> _Pass:
    """What the next pass must look at."""
    last = settlement.last_full_pass(connection)
    by = (asdict(policy), list(classes))
    if last is None or (last.policy, last.classes) != by:
        return _Pass(None, 0)
    if not pending:
        return _Pass(set(), last.annotators)
    size = settlement.last_answer(connection)
    if size <= NEWEST or size > GROWTH * last.last_answer:
        return _Pass(None, 0)
    newest = settlement.newest_answered(connection, NEWEST)
    return _Pass(newest | set(pending), last.annotators)


def _remember(
    connection: Connection, state: LedgerState, policy: SettlePolicy, classes: Sequence[str]
) -> None:
    last = int(state.answers["seq"].max()) if len(state.answers) else 0
    annotators = int(state.answers["annotator"].nunique())
    made = FullPass(asdict(policy), list(classes), last, annotators)
    settlement.save_full_pass(connection, made)


def _differs(standing: Any, cited: dict[int, list[int]], row: dict[str, Any]) -> bool:
    """Whether the label in force is another, or rests on other answers."""
    if standing is None:
        return True
    rests_on = sorted(int(seq) for seq in row["answers"])
    return (standing.label, cited[standing.seq]) != (row["label"], rests_on)
