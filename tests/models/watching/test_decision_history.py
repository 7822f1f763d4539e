"""The decisions of a period with their signals, newest first and bounded."""

from pathlib import Path

from core.database import connect, upgrade
from models.watching.decision_history import past_decisions
from models.watching.decisions import record_decision
from models.watching.signals import Action, Decision, Family, Shift, Signal


def test_decisions_since_then_have_their_signals(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    for place in range(3):
        record_decision(
            engine,
            model="hone:1",
            first_seq=place + 1,
            last_seq=place + 1,
            decision=Decision(Action.NONE, f"check {place}"),
            signals=[
                Signal(
                    name="ks",
                    family=Family.INPUTS,
                    outcome=Shift.NONE,
                    value=place / 10,
                    threshold=0.05,
                    evidence=0.0,
                    accumulated=0.0,
                    p_value=0.5,
                    rows=9,
                    groups=9,
                    meaning="moved",
                )
            ],
        )
    with engine.connect() as connection:
        checks = past_decisions(connection, "2020", most=2)
        assert past_decisions(connection, "2999", most=2) == []
    assert [one.reason for one in checks] == ["check 2", "check 1"]
    assert [[one.value for one in check.signals] for check in checks] == [[0.2], [0.1]]
