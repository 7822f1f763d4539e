"""What another settling policy would make of the answers that are there."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import resolve
from labeling.kinds import DEFAULT, KINDS, Kind
from labeling.ledger.settlement import load_ledger_state


@dataclass(frozen=True)
class LabelChanges:
    """How many labels another policy would settle, change and withdraw."""

    settled: int
    changed: int
    withdrawn: int


def preview_settling(
    engine: Engine,
    old: SettlePolicy,
    new: SettlePolicy,
    classes: Sequence[str],
    kind: Kind = KINDS[DEFAULT],
) -> LabelChanges:
    """The labels of the answers in force under both policies, compared; nothing is written."""
    with engine.connect() as connection:
        state = load_ledger_state(connection)
    before, after = (
        resolve(state, policy, classes, kind)["label"].dropna() for policy in (old, new)
    )
    both = before.index.intersection(after.index)
    return LabelChanges(
        settled=len(after) - len(both),
        changed=int((before.loc[both] != after.loc[both]).sum()),
        withdrawn=len(before) - len(both),
    )
