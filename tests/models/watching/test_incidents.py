"""Incidents: opened once, everything that happened in order, closed once."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, upgrade, writing
from models.watching.decisions import Evaluation, record_evaluation
from models.watching.incidents import (
    add_event,
    close_incident,
    find_incident,
    list_incidents,
    name_kind,
    next_incident,
    open_incident,
    open_incident_of,
)
from models.watching.signals import Action


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    return engine


def opened(engine: Engine, first: int = 1) -> tuple[str, str]:
    with writing(engine) as connection:
        incident = next_incident(connection)
        made = Evaluation(
            "hone:a", first, first + 9, Action.LABEL_SERVED, "label", "drift", incident_id=incident
        )
        decision = record_evaluation(connection, made)
        assert incident == open_incident(
            connection, decision, model="hone:a", kind=None, step="label"
        )
    return incident, decision


def test_an_incident_has_what_happened_in_order(engine: Engine) -> None:
    incident_id, decision = opened(engine)
    with writing(engine) as connection:
        add_event(connection, incident_id, "round", "ann", {"round": "round-0004"})
        add_event(connection, incident_id, "step", "hone", {"step": "retrain"})
        name_kind(connection, incident_id, "covariate")
        incident = open_incident_of(connection)
    assert incident is not None
    assert [one.what for one in incident.events] == ["opened", "round", "step"]
    assert (incident.step, incident.kind, incident.opened_by) == ("retrain", "covariate", decision)
    last = incident.last("round")
    assert last is not None and (last.who, last.detail["round"]) == ("ann", "round-0004")
    assert incident.last("closed") is None


def test_an_incident_is_closed_once(engine: Engine) -> None:
    incident_id, decision = opened(engine)
    with writing(engine) as connection:
        for _ in range(2):
            close_incident(connection, incident_id, decision, "3 calm checks")
        assert open_incident_of(connection) is None
        closed = find_incident(connection, incident_id)
    assert closed.closed_at is not None
    assert [one.what for one in closed.events] == ["opened", "closed"]
    assert closed.step == "none"


def test_incidents_are_numbered_and_listed_newest_first(engine: Engine) -> None:
    first, decision = opened(engine)
    with writing(engine) as connection:
        close_incident(connection, first, decision, "over")
    second, _ = opened(engine, first=11)
    with engine.connect() as connection:
        assert [one.incident_id for one in list_incidents(connection)] == [second, first]
        assert [one.incident_id for one in list_incidents(connection, 1)] == [second]
        assert find_incident(connection).incident_id == second
    assert (first, second) == ("incident-0001", "incident-0002")


def test_an_unknown_incident_is_an_error_that_names_it(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(ValueError, match="no incident 'incident-0009'"):
            find_incident(connection, "incident-0009")
        with pytest.raises(ValueError, match="there is no incident"):
            find_incident(connection)
