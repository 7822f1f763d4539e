"""Channels: names without secrets, and messages that arrive or fail with a reason, in time."""

import io
from pathlib import Path

import pytest
from PIL import Image

from models.watching import channels
from models.watching.channels import Channel, Message, channels_of, deliver, without_secrets
from tests.receivers import hanging_server, mail_server, web_server

SECRET = "s3cr3t-T0K3N"


def picture() -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(png, "PNG")
    return png.getvalue()


MESSAGE = Message("message-1", "Cats: drift", "The images changed.\nTo act: hone why", picture())


def send(url: str, message: Message = MESSAGE, seconds: float = 30) -> str | None:
    """Why a channel did not take a message."""
    (channel,) = channels_of(url)
    (error,) = deliver([(channel, message)], seconds)
    return error


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"slack://{SECRET}/{SECRET}/{SECRET}/#alerts", "slack://"),
        (f"mailtos://ann:{SECRET}@example.com:587/?to=b@example.com", "mailtos://example.com:587"),
        (f"mailtos://ann:{SECRET[:4]}/{SECRET}@example.com", "mailtos://"),
        (f"mailtos://ann:{SECRET}#x@example.com", "mailtos://"),
        (f"json://{SECRET}:x/@example.com", "json://"),
        (f"jsons://127.0.0.1:8080/{SECRET}?+Token={SECRET}", "jsons://127.0.0.1:8080"),
        (f"https://hooks.slack.com/services/{SECRET}", "https://hooks.slack.com"),
        ("file:///srv/cats/alerts", "file:///srv/cats/alerts"),
        (SECRET, "an address without a service"),
        (f"json://[{SECRET}", "json://"),
    ],
)
def test_a_channel_has_a_name_without_secrets(url: str, name: str) -> None:
    (channel,) = channels_of(url)
    assert channel.name == name
    assert SECRET not in f"{channel!r}"


def test_addresses_are_separated_by_spaces_and_commas_and_names_differ() -> None:
    setting = "mailto://h?to=a@b.de,c@d.de, json://h/1\n json://h/2,json://h/3"
    assert [(one.name, one.url) for one in channels_of(setting)] == [
        ("mailto://h", "mailto://h?to=a@b.de,c@d.de"),
        ("json://h", "json://h/1"),
        ("json://h (2)", "json://h/2"),
        ("json://h (3)", "json://h/3"),
    ]
    assert channels_of(" ") == []


def test_what_a_service_says_is_shown_without_the_secrets_of_its_address() -> None:
    url = f"json://ann:p%40ss-{SECRET}@example.com:99/hook/{SECRET}?+Token=abcdef&to=b@c.de"
    said = f"401 from example.com:99: p@ss-{SECRET}, /hook/{SECRET}, abcdef, b@c.de\x1b[2J\n" * 9
    shown = without_secrets(said, url)
    assert shown.startswith("401 from example.com:99: ***, /***/***, ***, ***\\x1b")
    assert len(shown) <= channels.ERROR_LENGTH
    assert without_secrets(f"no {SECRET}", SECRET) == "no ***"


def test_a_message_arrives_by_mail_with_its_picture() -> None:
    with mail_server() as server:
        url = f"mailto://127.0.0.1:{server.port}/?from=hone@example.com&to=ann@example.com"
        assert send(url) is None
        (mail,) = server.mails
        assert (mail["Subject"], mail["To"]) == ("Cats: drift", "ann@example.com")
        text = mail.get_body()
        assert text is not None and "To act: hone why" in text.get_content()
        (attached,) = mail.iter_attachments()
        assert attached.get_content() == picture()
        server.answer = "550 no such mailbox"
        assert send(url) is not None
        assert len(server.mails) == 1


def test_a_message_arrives_at_a_webhook_and_a_status_of_an_error_is_a_failure() -> None:
    with web_server() as server:
        url = f"json://ann:{SECRET}@127.0.0.1:{server.port}/{SECRET}"
        server.statuses = [500]
        error = send(url)
        assert error is not None and "error=500" in error and SECRET not in error
        assert send(url) is None
        assert [body["title"] for body in server.bodies] == ["Cats: drift"] * 2
        assert server.bodies[1]["attachments"][0]["filename"] == "images.png"
    error = send(url)
    assert error is not None and SECRET not in error


def test_a_channel_that_hangs_is_given_up_and_no_other_waits_for_it(tmp_path: Path) -> None:
    with hanging_server() as port:
        hanging = Channel("hanging", f"json://127.0.0.1:{port}/?rto=600&cto=600")
        folder = Channel("folder", f"file://{tmp_path}/alerts")
        errors = deliver([(hanging, MESSAGE), (folder, MESSAGE)], seconds=3)
    assert errors == ["it did not answer within 3 seconds", None]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (SECRET, "it is no address that Apprise takes"),
        (f"nosuch://{SECRET}", "it is no address that Apprise takes"),
        ("file://alerts", "write file:///FOLDER"),
        ("file:///proc/alerts", "cannot be written"),
        ("json://127.0.0.1:1/", "Connection"),
    ],
)
def test_a_wrong_address_is_a_failure_with_its_reason(url: str, reason: str) -> None:
    error = send(url)
    assert error is not None and reason in error and SECRET not in error


def test_a_sender_that_breaks_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; raise KeyError(sys.stdin.read())")
    monkeypatch.setattr(channels, "SENDER", broken)
    error = send(f"json://{SECRET}@127.0.0.1/")
    assert error is not None and "the sender ended with 1: KeyError" in error
    assert SECRET not in error


def test_a_sender_that_says_nothing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("")
    monkeypatch.setattr(channels, "SENDER", silent)
    assert send("json://127.0.0.1/") == "the sender ended without saying what came of it"
