"""`GET /predictions/{id}`, in this process: from the spool, from the database, and with a label."""

import asyncio
import threading
from typing import Any

from sqlalchemy import Engine, insert

from core.database import writing
from labeling.ledger import tables
from models.serving import answered
from models.serving.answered import AnsweredPredictions
from models.serving.prediction_store import drain
from models.serving.requests import RequestError
from models.serving.segments import SegmentWriter, prediction_id
from tests.models.saved_models import png
from tests.models.serving.test_prediction_store import served
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    place,
    reason,
    send,
    template,
)

UNKNOWN = "0" * 32


def ask(client: TestClient, *images: bytes) -> list[dict[str, Any]]:  # noqa: F811
    return list(send(client, *images).json()["predictions"])


def look(client: TestClient, name: str) -> dict[str, Any]:  # noqa: F811
    response = client.get(f"/predictions/{name}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def make_sample(engine: Engine, sample_id: str, **of_label: Any) -> None:
    """A sample that was asked about and, with `of_label`, has a label."""
    sample = {
        "sample_id": sample_id, "shard": "x.tar", "offset": 0, "length": 1, "stored_sha256": "x",
        "format": "PNG", "width": 1, "height": 1, "thumbnail": b"", "group_id": sample_id,
        "origin": "served", "added_at": "2026-01-01",
    }  # fmt: skip
    in_round = {"round_id": "round-0001", "number": 1, "strategy": "margin", "seed": 0,
                "config": {}, "why": "w", "chosen_at": "2026-01-01"}  # fmt: skip
    asked = {"round_id": "round-0001", "sample_id": sample_id, "position": 0,
             "reason": "margin", "sent_at": "2026-01-02"}  # fmt: skip
    with writing(engine) as connection:
        connection.execute(insert(tables.samples), [sample])
        connection.execute(insert(tables.rounds), [in_round])
        connection.execute(insert(tables.assignments), [asked])
        if of_label:
            connection.execute(insert(tables.labels), [{"sample_id": sample_id, **of_label}])


def test_an_answer_is_known_by_its_id_before_and_after_the_drain(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    first, second = ask(client, png(1), png(2))
    before = [look(client, one["prediction_id"]) for one in (first, second)]
    assert [one["label"] for one in before] == [first["label"], second["label"]]
    assert before[1]["confidence"] == second["confidence"]
    assert before[1]["review"] == {"status": "pending"}
    assert drain(place[1], place[0].traffic) == 2
    for path in place[0].traffic.glob("*.seg"):
        path.unlink()
    assert [look(client, one["prediction_id"]) for one in (first, second)] == before


def test_the_answer_of_another_worker_is_known(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    other = SegmentWriter(place[0].traffic)
    answer = served(7, png(7))
    name = prediction_id("r", 0, answer.sample_id, answer.model)
    other.append([(type(answer)(**{**vars(answer), "prediction_id": name}), png(7))])
    assert look(client, name)["sample_id"] == answer.sample_id


def test_it_shows_how_the_question_stands_and_the_label_when_it_came(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    [answer] = ask(client, png(1))
    make_sample(place[1], answer["sample_id"])
    asked = look(client, answer["prediction_id"])["review"]
    assert asked == {"status": "asked", "asked_at": "2026-01-02"}
    label = {"round_id": "round-0001", "label": "dog", "trust": 0.9, "annotators": ["ada"],
             "method": "majority", "settled_at": "2026-01-03"}  # fmt: skip
    with writing(place[1]) as connection:
        former = {"replaced_at": "2026-01-02", "sample_id": answer["sample_id"]}
        connection.execute(insert(tables.labels), [{**label, "label": "cat", **former}])
        now = {"replaced_at": None, "sample_id": answer["sample_id"]}
        connection.execute(insert(tables.labels), [{**label, **now}])
    shown = look(client, answer["prediction_id"])
    assert shown["review"] == {
        "status": "settled", "label": "dog", "trust": 0.9, "settled_at": "2026-01-03",
    }  # fmt: skip
    assert shown["label"] == answer["label"], "what was answered stays"


def test_a_skipped_image_is_no_pending_one(place: Place) -> None:  # noqa: F811
    make_sample(place[1], "a")
    with writing(place[1]) as connection:
        ended = tables.assignments.update().values(closed_at="2026-01-03", outcome="skipped")
        connection.execute(ended)
    with place[1].connect() as connection:
        assert answered.review_of(connection, "a")["status"] == "skipped"
        assert answered.review_of(connection, "b") == {"status": "pending"}
    with writing(place[1]) as connection:
        connection.execute(tables.assignments.update().values(outcome="deleted"))
    with place[1].connect() as connection:
        assert answered.review_of(connection, "a") == {"status": "pending"}


def test_unknown_ids_and_texts_that_are_none_are_refused(client: TestClient) -> None:  # noqa: F811
    response = client.get(f"/predictions/{UNKNOWN}")
    assert (response.status_code, reason(response)) == (404, "UNKNOWN_PREDICTION")
    assert UNKNOWN in response.json()["error"]["detail"]
    for name in ("x", "0" * 33, "A" * 32, "%00", "0" * 5000):
        response = client.get(f"/predictions/{name}")
        assert (response.status_code, reason(response)) == (400, "BAD_PREDICTION_ID")
        assert len(response.text) < 500
    assert client.post(f"/predictions/{UNKNOWN}").status_code == 405


def test_a_database_that_is_away_is_named(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    [answer] = ask(client, png(1))
    (place[0].root / "hone.sqlite").rename(place[0].root / "away")
    response = client.get(f"/predictions/{answer['prediction_id']}")
    assert (response.status_code, reason(response)) == (503, "UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"


class Slow:
    """In the place of the segments: look-ups that wait, counted."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.may_end = threading.Event()

    def prediction(self, name: str) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.may_end.wait(10)
        self.running -= 1


def test_look_ups_leave_the_event_loop_free_and_are_few_at_a_time() -> None:
    slow = Slow()

    async def play() -> list[Any]:
        lookups = AnsweredPredictions(None, slow)  # type: ignore[arg-type]
        asked = [asyncio.create_task(lookups.find(UNKNOWN)) for _ in range(20)]
        while slow.running < answered.AT_ONCE:
            await asyncio.sleep(0.001)  # the loop goes on
        slow.may_end.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(play())
    assert slow.most == answered.AT_ONCE
    assert {type(one) for one in outcomes} == {RequestError} and len(outcomes) == 20
