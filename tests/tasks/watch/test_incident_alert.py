"""An incident is told once for each step that needs somebody, and its end once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, upgrade, writing
from models.registry.halts import HaltPolicy, add_halt
from models.watching.alerts import Kind, newest_alerts
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.incidents import close_incident, open_incident
from models.watching.signals import Action, Family, Shift, Signal
from tasks.operate.watch_records import accept_drift
from tasks.watch.incident_alert import alert_incident
from tests.models.halting import resume_service
from tests.tasks.watch.test_check import drifted
from tests.tasks.watch.traffic import make_context

SIGNAL = Signal(
    name="martingale", family=Family.INPUTS, outcome=Shift.DRIFT, value=0.5, threshold=7.7,
    evidence=9.0, accumulated=12.0, p_value=None, rows=300, groups=200, meaning="it is darker",
)  # fmt: skip
DRIFT = Evaluation(
    model="hone:0001-a", first_seq=1, last_seq=300, action=Action.LABEL_SERVED, step="label",
    reason="The traffic has drifted.", why=("label: alarm",), kind="covariate",
    cost={"labels": 150}, exemplars=["p-1", "p-2"],
    estimate={"measured_accuracy": 0.8, "low": None, "remedies": ["relabel", "roll back"]},
    incident_id="incident-0001", signals=(SIGNAL,),
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    yield engine
    engine.dispose()


def told(engine: Engine, made: Evaluation, *, opens: bool = False) -> bool:
    with writing(engine) as connection:
        return alert_incident(connection, made, made.incident_id, opens=opens) is not None


def test_the_alert_has_numbers_images_and_the_command_to_act(engine: Engine) -> None:
    assert told(engine, DRIFT, opens=True)
    with engine.connect() as connection:
        (alert,) = newest_alerts(connection, 9)
    assert alert.title == (
        "incident-0001: the traffic has drifted, labels are asked for (covariate)"
    )
    assert alert.body.splitlines() == [
        "The traffic has drifted.",
        "model hone:0001-a, predictions 1 to 300",
        "kind of drift: covariate",
        "martingale 0.5: drift, it is darker",
        "measured accuracy: 0.8",
        "remedies: relabel",
        "remedies: roll back",
        "cost: 150 labels",
    ]
    assert (alert.kind, alert.command) == (Kind.INCIDENT, "hone label")
    assert alert.exemplars == ("p-1", "p-2")


def test_each_step_that_needs_somebody_is_told_once_and_the_end_once(engine: Engine) -> None:
    alert, halt = replace(DRIFT, step="alert"), replace(DRIFT, step="halt")
    calm = replace(DRIFT, step="none", reason="No drift.")
    assert not told(engine, replace(calm, incident_id=None))
    with writing(engine) as connection:
        opened_by = record_evaluation(connection, replace(DRIFT, signals=()))
        assert open_incident(
            connection, opened_by, model=DRIFT.model, kind=None, step="label"
        ) == DRIFT.incident_id  # fmt: skip
    assert told(engine, DRIFT, opens=True)
    assert not told(engine, DRIFT)
    assert [told(engine, alert), told(engine, alert)] == [True, False]
    assert [told(engine, halt), told(engine, halt)] == [True, False]
    assert not told(engine, calm)
    for _ in range(2):
        with writing(engine) as connection:
            close_incident(connection, "incident-0001", opened_by, "3 calm checks in a row")
    with engine.connect() as connection:
        newest, *before = newest_alerts(connection, 9)
    assert (newest.title, newest.body) == ("incident-0001 has ended", "3 calm checks in a row")
    kinds = [newest.kind, *(one.kind for one in before)]
    assert kinds == [Kind.RECOVERY, Kind.HALT, Kind.DRIFT, Kind.INCIDENT]
    assert all(one.closed_at for one in before)


def test_a_service_that_halts_again_in_one_incident_is_told_again(engine: Engine) -> None:
    halt = replace(DRIFT, step="halt")
    for number in (1, 2):
        with writing(engine) as connection:
            made = add_halt(
                connection, policy=HaltPolicy.REFUSE, who="hone", why="poor", decision_id="d"
            )
        assert made == number
        assert [told(engine, halt), told(engine, halt)] == [True, False]
        resume_service(engine, who="ann", why="the camera is repaired")


def test_a_check_that_opens_an_incident_alerts_until_the_incident_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(tmp_path, monkeypatch)
    made = drifted(ctx)
    with ctx.engine.connect() as connection:
        (alert,) = newest_alerts(connection, 9)
    assert (alert.about, alert.closed_at) == (made.incident_id, None)
    assert alert.exemplars and set(alert.exemplars) == set(made.exemplars or [])
    accept_drift(made.decision_id, who="ann", why="a new camera")
    with ctx.engine.connect() as connection:
        recovery, alert = newest_alerts(connection, 9)
    assert alert.closed_at is not None
    assert recovery.body == "ann takes its traffic for known: a new camera"
