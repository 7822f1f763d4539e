"""The words of a message: one alert as it is, many as a digest by thread."""

from models.watching.alert_text import THREADS, body_of, title_of
from models.watching.alerts import Kind, RaisedAlert


def alert(
    seq: int, about: str = "incident-1", kind: Kind = Kind.DRIFT, command: str | None = None
) -> RaisedAlert:
    at = f"2026-01-01T{seq % 24:02}:30:00+00:00"
    return RaisedAlert(
        f"alert-{seq}", seq, about, kind, f"title {seq}", f"body {seq}", command, (), at, None
    )


def test_one_alert_is_its_title_its_body_and_the_command_to_act() -> None:
    only = [alert(1, command="hone why")]
    assert title_of(only, "Cats") == "Cats: title 1"
    assert body_of(only, "message-1") == "body 1\nTo act: hone why\n\n(message-1: alert-1)"


def test_a_digest_has_a_part_for_each_thread_with_the_newest_first() -> None:
    several = [
        alert(1), alert(2, "workspace", Kind.DAMAGE, "hone fsck"), alert(3, kind=Kind.HALT),
        alert(4, kind=Kind.RECOVERY), alert(5, "run-1"), alert(6, "run-1"),
    ]  # fmt: skip
    assert title_of(several, "Cats") == "Cats: 6 alerts, the newest: title 6"
    assert body_of(several, "message-1").split("\n\n") == [
        "* title 6 (2026-01-01 06:30 UTC, 2 alerts since 2026-01-01 05:30)\nbody 6",
        "* title 4 (2026-01-01 04:30 UTC; it began 2026-01-01 01:30: title 1)\nbody 4",
        "* title 2 (2026-01-01 02:30 UTC)\nbody 2\nTo act: hone fsck",
        "(message-1: alert-1, alert-2, alert-3, alert-4, alert-5, alert-6)",
    ]


def test_a_digest_of_very_many_threads_names_the_newest() -> None:
    many = [alert(number, f"run-{number}") for number in range(THREADS + 5)]
    parts = body_of(many, "message-1").split("\n\n")
    assert len(parts) == THREADS + 2
    assert parts[-2] == "and 5 more: `hone alerts` lists them"
