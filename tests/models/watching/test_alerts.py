"""Alerts: raised once, sent to each channel as a digest, tried again, and closed by recovery."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.database import connect, upgrade, writing
from core.locks import only_writer
from models.watching import alerts
from models.watching.alerts import (
    Alert,
    DueMessage,
    Kind,
    alert_overview,
    close_alert,
    due_messages,
    newest_alerts,
    newest_messages,
    raise_alert,
    record_attempts,
)

DRIFT = Alert("incident-1", Kind.DRIFT, "decision-1", "drift", "It is darker.", "hone why", ("p",))
CHANNELS = ["mail", "web"]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

    def now(self) -> str:
        return self.at.isoformat(timespec="microseconds")

    def move(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(alerts, "now", clock.now)
    return clock


@pytest.fixture
def engine(tmp_path: Path, clock: Clock) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    upgrade(engine)
    yield engine
    engine.dispose()


def raised(engine: Engine, alert: Alert) -> str | None:
    with writing(engine) as connection:
        return raise_alert(connection, alert)


def recovered(engine: Engine, about: str = DRIFT.about) -> str | None:
    with writing(engine) as connection:
        return close_alert(connection, about, title="all is well", body="It is bright again.")


def event(number: int) -> Alert:
    return Alert(f"run-{number}", Kind.STUCK, "", f"run {number} is stuck", "", is_event=True)


def due(engine: Engine, channels: list[str] = CHANNELS) -> list[DueMessage]:
    with only_writer(engine, "alerts") as token:
        return due_messages(engine, token, channels)


def attempted(engine: Engine, messages: list[DueMessage], error: str | None = None) -> None:
    with only_writer(engine, "alerts") as token:
        record_attempts(engine, token, {one.message_id: error for one in messages})


def titles(messages: list[DueMessage]) -> dict[str, list[str]]:
    return {one.channel: [alert.title for alert in one.alerts] for one in messages}


def test_an_alert_is_raised_once_while_it_is_open(engine: Engine) -> None:
    first = raised(engine, DRIFT)
    assert first is not None
    assert raised(engine, DRIFT) is None
    assert recovered(engine, "incident-2") is None
    assert recovered(engine) is not None
    assert recovered(engine) is None
    again = raised(engine, DRIFT)
    assert again not in (None, first)
    with engine.connect() as connection:
        newest, recovery, oldest = newest_alerts(connection, 9)
    assert oldest.closed_at is not None and newest.closed_at is None
    assert (oldest.kind, oldest.body, oldest.exemplars) == (Kind.DRIFT, "It is darker.", ("p",))
    assert (recovery.kind, recovery.about) == (Kind.RECOVERY, DRIFT.about)


def test_an_alert_holds_nothing_that_a_terminal_obeys_and_is_short(engine: Engine) -> None:
    raised(engine, Alert("a", Kind.DRIFT, "", "evil\x1b[2J\nx" + "y" * 999, "\x07" + "z" * 9_999))
    with engine.connect() as connection:
        (alert,) = newest_alerts(connection, 1)
    assert alert.title.startswith("evil\\x1b[2J x") and len(alert.title) == alerts.TITLE_LENGTH
    assert alert.body.startswith("\\x07z") and len(alert.body) == alerts.BODY_LENGTH


def test_each_channel_gets_each_alert_once(engine: Engine, clock: Clock) -> None:
    assert due(engine) == []
    raised(engine, DRIFT)
    messages = due(engine)
    assert titles(messages) == {"mail": ["drift"], "web": ["drift"]}
    assert len({one.message_id for one in messages}) == 2
    attempted(engine, messages)
    assert due(engine) == []
    clock.move(days=9)
    assert due(engine) == []


def test_what_comes_within_an_hour_is_summed_up(engine: Engine, clock: Clock) -> None:
    raised(engine, DRIFT)
    attempted(engine, due(engine))
    for number in range(3):
        clock.move(minutes=19)
        raised(engine, event(number))
        assert due(engine) == []
    recovered(engine)
    clock.move(minutes=3)
    after = ["run 0 is stuck", "run 1 is stuck", "run 2 is stuck", "all is well"]
    assert titles(due(engine)) == {"mail": after, "web": after}


def test_a_halt_does_not_wait_for_the_end_of_the_hour(engine: Engine, clock: Clock) -> None:
    raised(engine, DRIFT)
    attempted(engine, due(engine))
    clock.move(minutes=1)
    raised(engine, event(1))
    assert due(engine) == []
    raised(engine, replace(DRIFT, kind=Kind.HALT, key="halt 1", title="halted"))
    messages = due(engine, ["mail"])
    assert titles(messages) == {"mail": ["run 1 is stuck", "halted"]}
    attempted(engine, messages)
    raised(engine, event(2))
    assert due(engine, ["mail"]) == []


def test_a_storm_is_a_message_an_hour(engine: Engine, clock: Clock) -> None:
    sent: list[DueMessage] = []
    for number in range(4 * 6):  # every ten minutes
        raised(engine, event(number))
        messages = due(engine, ["mail"])
        attempted(engine, messages)
        sent += messages
        clock.move(minutes=10)
    assert [len(one.alerts) for one in sent] == [1, 6, 6, 6]
    reported = [alert.alert_id for one in sent for alert in one.alerts]
    assert len(set(reported)) == len(reported)


def test_a_message_of_a_killed_run_is_sent_again_under_its_id(engine: Engine) -> None:
    raised(engine, DRIFT)
    before = due(engine)  # killed before anything was recorded
    raised(engine, event(1))
    assert due(engine) == before


def test_a_channel_that_fails_is_tried_again_after_longer_and_longer_pauses(
    engine: Engine, clock: Clock
) -> None:
    raised(engine, DRIFT)
    began = clock.now()
    mail, web = due(engine)
    attempted(engine, [web])
    pauses: list[float] = []
    while len(pauses) < 11:
        assert due(engine, ["mail"]) == [mail]
        attempted(engine, [mail], "refused")
        with engine.connect() as connection:
            overview = alert_overview(connection)
        (failing,) = overview.failing
        assert overview.open == 1
        assert (failing.name, failing.error, failing.since) == ("mail", "refused", began)
        mail = replace(mail, attempts=failing.attempts)
        due_at = datetime.fromisoformat(failing.next_at)
        pauses.append((due_at - clock.at).total_seconds() / 60)
        clock.at = due_at - timedelta(seconds=1)
        assert due(engine) == []
        clock.at = due_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_after_an_outage_a_channel_is_tried_as_soon_as_another_one_took_a_message(
    engine: Engine, clock: Clock
) -> None:
    raised(engine, DRIFT)
    for _ in range(9):  # nobody answers for hours
        attempted(engine, due(engine), "no route")
        clock.move(hours=1)
    mail, web = due(engine)
    attempted(engine, [mail, web], "no route")
    clock.move(minutes=1)
    assert due(engine) == []
    raised(engine, event(1))
    assert titles(due(engine, ["new"])) == {"new": ["drift", "run 1 is stuck"]}
    attempted(engine, due(engine, ["new"]))
    clock.move(seconds=1)
    again = due(engine)
    assert [one.channel for one in again] == ["mail", "web"]
    attempted(engine, again, "no route")
    assert due(engine) == []  # a channel that stays away is not tried for ever


def test_a_channel_that_works_again_gets_the_old_message_and_then_the_rest(
    engine: Engine, clock: Clock
) -> None:
    raised(engine, DRIFT)
    attempted(engine, due(engine, ["mail"]), "refused")
    raised(engine, event(1))
    recovered(engine)
    clock.move(minutes=1)
    (message,) = due(engine, ["mail"])
    assert (message.attempts, titles([message])) == (1, {"mail": ["drift"]})
    attempted(engine, [message])
    with engine.connect() as connection:
        assert alert_overview(connection) == alerts.AlertOverview(0, ())
    clock.move(hours=1)
    assert titles(due(engine, ["mail"])) == {"mail": ["run 1 is stuck", "all is well"]}


def test_a_new_channel_hears_of_what_is_open_or_new_and_not_of_the_past(
    engine: Engine, clock: Clock
) -> None:
    raised(engine, event(1))
    raised(engine, DRIFT)
    attempted(engine, due(engine, ["mail"]))
    clock.move(days=1)
    raised(engine, event(2))
    assert titles(due(engine, ["web"])) == {"web": ["drift", "run 2 is stuck"]}


def test_messages_are_on_record(engine: Engine, clock: Clock) -> None:
    raised(engine, DRIFT)
    attempted(engine, due(engine, ["mail"]), "refused")
    clock.move(minutes=2)
    attempted(engine, due(engine, ["mail"]))
    with engine.connect() as connection:
        (row,) = newest_messages(connection, 9)
    assert (row.channel, row.attempts, row.error) == ("mail", 2, None)
    assert row.delivered_at == row.tried_at == clock.now()
