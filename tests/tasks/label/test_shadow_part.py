"""What champion and challenger answered differently in use comes into the next batch."""

import uuid

import pytest
from sqlalchemy import select

from core.database import now
from labeling.batches.reasons import WHY
from labeling.ledger.reasons import Reason
from models.serving.erasures import retained_images
from models.serving.retention import DISAGREEMENT
from models.serving.segments import SegmentWriter
from models.serving.shadow_records import FOLDER, ShadowAnswer, ShadowRecord, record_of
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    place,
    template,
)
from tests.tasks.label.test_referred import ask, next_batch, set_policies


def shadowed(place: Place, answers: list[dict[str, str]], label: str) -> None:  # noqa: F811
    """Record that a challenger answered `label` to what the service answered."""
    rows = tuple(
        ShadowAnswer(one["prediction_id"], one["sample_id"], None, now(), one["label"], True,
                     label, 0.5, True)
        for one in answers
    )  # fmt: skip
    writer = SegmentWriter(place[0].traffic / FOLDER)
    record = ShadowRecord(uuid.uuid4().hex, 2, answers[0]["model"], "hone:b", now(), answers=rows)
    writer.append_parts([(record_of(record), b"")])
    writer.close()


@pytest.mark.parametrize(("share", "asked"), [(0.5, 2), (0.0, 0)])
def test_disagreements_take_the_share_of_a_batch_that_the_policy_gives_them(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    share: float,
    asked: int,
) -> None:
    set_policies(place, f"[release]\nlabel_share = {share}\n[review]\nshare = 0.0\n")
    answers = ask(client, range(6))
    other = next(one for one in ("cat", "dog", "eel") if one != answers[0]["label"])
    same = [one for one in answers if one["label"] == other]
    shadowed(place, answers, other)
    batch = next_batch(place[1], size=4, strategy="margin", audit_share=0.0, random_share=0.0)
    chosen = batch[batch["reason"] == Reason.SHADOW]["sample_id"].tolist()
    newest = [one["sample_id"] for one in reversed(answers) if one not in same]
    assert chosen == newest[:asked]
    assert Reason.SHADOW in WHY
    assert not any(name in WHY[Reason.SHADOW] for name in ("cat", "dog", "eel"))


def test_what_becomes_a_sample_because_models_differed_is_retained_by_name(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    retention = "[retention]\nrandom_share = 0.0001\nper_hour = 1\nper_day = 1\n"
    set_policies(place, f"[release]\nlabel_share = 1.0\n{retention}")
    answers = ask(client, range(3))
    shadowed(place, answers, "something else")
    next_batch(place[1], size=4, strategy="margin", audit_share=0.0, random_share=0.0)
    with place[1].connect() as connection:
        rows = connection.execute(select(*retained_images.c["prediction_id", "why"])).tuples()
        why = dict(rows.all())
    assert why == {one["prediction_id"]: DISAGREEMENT for one in answers}
