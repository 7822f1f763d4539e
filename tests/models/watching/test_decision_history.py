"""The checks of a period with the figures of their signals, oldest first and bounded."""

from pathlib import Path

from core.database import connect, upgrade, writing
from models.watching.decision_history import PastCheck, PastSignal, past_checks
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.signals import Action, Family, Shift, Signal


def test_checks_since_then_have_the_figures_of_their_signals(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    for place in range(3):
        signal = Signal(
            name="ks", family=Family.INPUTS, outcome=Shift.NONE, value=place / 10, threshold=0.05,
            evidence=0.0, accumulated=0.0, p_value=0.5, rows=9, groups=9, meaning="moved",
        )  # fmt: skip
        seq = place + 1
        made = Evaluation(
            "hone:1", seq, seq, Action.NONE, "none", f"check {place}", signals=[signal],
            evidence=1.0 + place, threshold=7.0,
        )  # fmt: skip
        with writing(engine) as connection:
            record_evaluation(connection, made)
    with engine.connect() as connection:
        checks = past_checks(connection, "2020", most=2)
        assert past_checks(connection, "2999", most=2) == []
    assert [(one.evidence, one.threshold, one.step) for one in checks] == [
        (2.0, 7.0, "none"), (3.0, 7.0, "none"),
    ]  # fmt: skip
    assert checks[-1] == PastCheck(
        checks[-1].decided_at, "none", 3.0, 7.0, [PastSignal("ks", "no drift", 0.2, 0.0)]
    )
