"""The decisions of a period with their signals, newest first and bounded."""

from pathlib import Path

from core.database import connect, upgrade, writing
from models.watching.decision_history import past_decisions
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.signals import Action, Family, Shift, Signal


def test_decisions_since_then_have_their_signals(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    for place in range(3):
        signal = Signal(
            name="ks", family=Family.INPUTS, outcome=Shift.NONE, value=place / 10, threshold=0.05,
            evidence=0.0, accumulated=0.0, p_value=0.5, rows=9, groups=9, meaning="moved",
        )  # fmt: skip
        seq = place + 1
        made = Evaluation(
            "hone:1", seq, seq, Action.NONE, "none", f"check {place}", signals=[signal]
        )
        with writing(engine) as connection:
            record_evaluation(connection, made)
    with engine.connect() as connection:
        checks = past_decisions(connection, "2020", most=2)
        assert past_decisions(connection, "2999", most=2) == []
    assert [one.reason for one in checks] == ["check 2", "check 1"]
    assert [[one.value for one in check.signals] for check in checks] == [[0.2], [0.1]]
    assert [[one.meaning for one in check.signals] for check in checks] == [["moved"], ["moved"]]
