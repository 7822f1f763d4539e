"""A settled label returns to the address that a client of the service named, once."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from core.database import writing
from labeling.ledger import tables
from models.serving import service
from models.serving.callback_store import ATTEMPTS, callback_counts, callbacks
from tasks.collect.return_labels import return_labels
from tests.models.saved_models import png
from tests.models.serving.test_answered import make_sample
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    place,
    reason,
    serving,
    template,
)
from tests.receivers import WebServer, web_server

SECRET = "0123456789abcdef"
LABEL = {"round_id": "round-0001", "label": "dog", "trust": 0.9, "annotators": ["ada"],
         "method": "majority", "settled_at": "2026-01-03"}  # fmt: skip


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Any:
    with web_server() as server:
        listed = f"private+http://127.0.0.1:{server.port}/hone/"
        monkeypatch.setenv("HONE_CALLBACKS", listed)
        monkeypatch.setenv("HONE_CALLBACK_SECRET", SECRET)
        yield server


def ask(client: TestClient, url: str, request_id: str = "once") -> Any:
    files = {"images": ("one.png", png(1))}
    headers = {"X-Callback-Url": url, "X-Request-ID": request_id}
    return client.post("/predict", files=files, headers=headers)


def standing(client: TestClient, name: str) -> Any:
    return client.get(f"/predictions/{name}").json()["callbacks"]


def due_now(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(
            update(callbacks).where(callbacks.c.due_at.is_not(None)).values(due_at="2026-01-01")
        )


def test_the_label_is_sent_when_it_settles_and_not_again(
    place: Place,  # noqa: F811
    receiver: WebServer,
) -> None:
    url = f"http://127.0.0.1:{receiver.port}/hone/7?key=secret"
    with serving() as client:
        [answer] = ask(client, url).json()["predictions"]
        assert ask(client, url).json()["predictions"] == [answer]
        name = answer["prediction_id"]
        assert standing(client, name) == []
        assert return_labels.fn() == 0
        [waiting] = standing(client, name)
        assert (waiting["status"], waiting["url"]) == ("waiting", url.partition("hone/7")[0])
        make_sample(place[1], answer["sample_id"], **LABEL)
        receiver.statuses = [503]
        assert return_labels.fn() == 0
        [failed] = standing(client, name)
        assert (failed["status"], failed["error"]) == ("waiting", "the receiver answered 503")
        assert return_labels.fn() == 0, "it waits a minute"
        assert len(receiver.bodies) == 1
        due_now(place[1])
        assert return_labels.fn() == 1
        [delivered] = standing(client, name)
    assert (delivered["status"], delivered["attempts"]) == ("delivered", 2)
    assert (
        receiver.bodies
        == [{"prediction_id": name, "label": "dog", "trust": 0.9, "settled_at": "2026-01-03"}] * 2
    )
    assert receiver.headers[0]["X-Hone-Delivery"] == receiver.headers[1]["X-Hone-Delivery"]
    assert return_labels.fn() == 0 and len(receiver.bodies) == 2
    with place[1].connect() as connection:
        assert vars(callback_counts(connection)) == {"waiting": 0, "delivered": 1, "given_up": 0}


def test_an_address_that_is_not_listed_is_refused_before_any_work(
    place: Place,  # noqa: F811
    receiver: WebServer,
) -> None:
    with serving() as client:
        response = ask(client, "https://evil.example/hone/")
        assert (response.status_code, reason(response)) == (400, "BAD_CALLBACK")
        assert list(place[0].traffic.glob("*.seg")) == []
        assert ask(client, f"http://127.0.0.1:{receiver.port}/hone/").status_code == 200


def test_without_a_list_no_address_is_taken(place: Place) -> None:  # noqa: F811
    with serving() as client:
        assert reason(ask(client, "https://hooks.example.com/")) == "BAD_CALLBACK"
    assert return_labels.fn() == 0
    assert service.app.state.hone is not None


def test_a_server_that_fails_holds_up_no_other_and_is_given_up(
    place: Place,  # noqa: F811
    receiver: WebServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = "http://127.0.0.1:9/"
    listed = f"private+http://127.0.0.1:{receiver.port}/ private+{away}"
    monkeypatch.setenv("HONE_CALLBACKS", listed)
    with serving() as client:
        for number in range(20):
            answer = ask(client, f"{away}{number}", f"r{number}").json()["predictions"][0]
        ask(client, f"http://127.0.0.1:{receiver.port}/", "last")
        make_sample(place[1], answer["sample_id"], **LABEL)
        assert return_labels.fn() == 1
        with place[1].connect() as connection:
            tried = connection.scalars(select(callbacks.c.attempts)).all()
        assert 3 <= sum(tried) - 1 < 15, "the others of its labels wait for the next run"
        for _ in range(ATTEMPTS * 4):
            due_now(place[1])
            return_labels.fn()
    with place[1].connect() as connection:
        assert callback_counts(connection).given_up > 0
        query = select(callbacks.c.error).where(callbacks.c.due_at.is_(None))
        errors = set(connection.scalars(query.where(callbacks.c.delivered_at.is_(None))))
    assert errors == {"ConnectionRefusedError: [Errno 111] Connection refused"}
    with writing(place[1]) as connection:
        assert connection.execute(select(tables.labels.c.label)).scalars().all() == ["dog"]
