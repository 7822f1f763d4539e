"""Intents outlive the process that wrote them, and keep what was decided first."""

from sqlalchemy import Engine, select

from core.database import connect, writing
from core.intents import (
    begin_intent,
    commit_intent,
    intent_outcome,
    intents,
    mark_done,
    open_intents,
)
from core.locks import only_writer
from tests.core.killed import killed


def test_what_was_decided_first_holds(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        first = begin_intent(connection, token, kind="k", key="a", payload={"n": 1})
        again = begin_intent(connection, token, kind="k", key="a", payload={"n": 2})
    assert first == again == {"n": 1}


def test_an_intent_outlives_the_process_that_had_it(engine):
    engine.dispose()
    url = str(engine.url)

    def decide() -> None:
        mine = connect(url)
        lock = only_writer(mine, "git")
        token = lock.__enter__()
        with writing(mine) as connection:
            begin_intent(connection, token, kind="k", key="a", payload={"n": 1})

    killed(decide)
    with engine.connect() as connection:
        assert open_intents(connection, "k") == {"a": {"n": 1}}
        assert open_intents(connection, "other") == {}


def test_a_confirmed_intent_is_closed_with_its_outcome_and_stays_closed(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        for key in ("b", "a"):
            begin_intent(connection, token, kind="k", key=key, payload={})
        mark_done(connection, token, kind="k", key="b")
        commit_intent(connection, token, kind="k", key="b", outcome="sent")
        commit_intent(connection, token, kind="k", key="b", outcome="again")
        assert list(open_intents(connection, "k")) == ["a"]
        row = connection.execute(select(intents).where(intents.c.key == "b")).one()
    assert row.outcome == "sent"
    assert row.intended_at <= row.acted_at <= row.confirmed_at


def test_open_intents_come_oldest_first(engine):
    with only_writer(engine, "git") as token, writing(engine) as connection:
        for key in "cab":
            begin_intent(connection, token, kind="k", key=key, payload={})
        assert list(open_intents(connection, "k")) == ["c", "a", "b"]


def test_an_act_was_done_when_it_was_first_marked(engine):
    when = select(intents.c.acted_at).where(intents.c.key == "a")
    with only_writer(engine, "git") as token, writing(engine) as connection:
        begin_intent(connection, token, kind="k", key="a", payload={})
        mark_done(connection, token, kind="k", key="a")
        first = connection.scalar(when)
        mark_done(connection, token, kind="k", key="a")
        assert first is not None and connection.scalar(when) == first


def test_intents_of_two_kinds_may_have_the_same_key(engine: Engine) -> None:
    with only_writer(engine, "git") as token, writing(engine) as connection:
        for kind in ("k", "other"):
            payload = {"of": kind}
            assert begin_intent(connection, token, kind=kind, key="a", payload=payload) == payload
        mark_done(connection, token, kind="k", key="a")
        commit_intent(connection, token, kind="k", key="a", outcome="sent")
        assert open_intents(connection, "k") == {}
        assert open_intents(connection, "other") == {"a": {"of": "other"}}
        of_other = select(intents.c.acted_at).where(intents.c.kind == "other")
        assert connection.scalar(of_other) is None
        outcomes = [intent_outcome(connection, kind=kind, key="a") for kind in ("k", "other")]
    assert outcomes == ["sent", None]
