"""Answers marked for a person come first in the next batch, and their label returns."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, select

from core.locks import LockBusy
from labeling import simulation
from labeling.batches.quality_control import QualityControlConfig
from labeling.batches.select import SelectionConfig
from labeling.consensus.settle import SettlePolicy
from labeling.ledger.rounds import load_batch
from labeling.ledger.tables import samples
from models.serving.prediction_store import drain
from models.serving.traffic_window import referred_rows
from tasks.collect.fetch import fetch_answers
from tasks.collect.settle import settle_answers
from tasks.context import open_context
from tasks.direct_run import direct_runs
from tasks.label import choose, referred
from tests.models.saved_models import png
from tests.models.serving.test_service import (  # noqa: F401 - fixtures
    Place,
    TestClient,
    client,
    place,
    send,
    template,
)

QUEUE = QualityControlConfig(gold_share=0)
ADA = simulation.Annotator("ada", error_rate=0.0)


def set_policies(place: Place, text: str) -> None:  # noqa: F811
    with (place[0].root / "hone.toml").open("a") as file:
        file.write(f"[audit]\nshare = 0.0001\n{text}")


def ask(client: TestClient, numbers: range) -> list[dict[str, Any]]:  # noqa: F811
    return [send(client, png(number)).json()["predictions"][0] for number in numbers]


def next_batch(engine: Engine, **about: Any) -> pd.DataFrame:
    with direct_runs():
        round_id = choose.choose_batch.fn(None, SelectionConfig(**about), QUEUE, 0, 500)
    if round_id is None:
        return pd.DataFrame(columns=["sample_id", "reason"])
    choose.send_batch.fn(round_id, "simulated")
    with engine.connect() as connection:
        return load_batch(connection, round_id).rows


def test_the_reviewed_truth_returns_to_whoever_asked(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    set_policies(place, "[review]\nshare = 0.5\n")
    answers = ask(client, range(6))
    assert all(one["needs_review"] for one in answers)
    names = [one["sample_id"] for one in answers]
    batch = next_batch(place[1], size=4, strategy="margin", audit_share=0.0, random_share=0.0)
    assert batch["sample_id"].tolist()[:2] == [names[5], names[4]], "the newest are asked first"
    assert batch["reason"].tolist() == ["referred", "referred", "margin", "margin"]
    look = f"/predictions/{answers[5]['prediction_id']}"
    assert client.get(look).json()["review"]["status"] == "asked"
    simulation.save_simulation(place[0].root, pd.Series(dict.fromkeys(names, "eel")), [ADA], seed=0)
    fetch_answers.fn("simulated", SettlePolicy())
    settle_answers.fn(SettlePolicy())
    settled = client.get(look).json()
    assert (settled["review"]["status"], settled["review"]["label"]) == ("settled", "eel")
    assert settled["label"] == answers[5]["label"]
    rest = next_batch(place[1], size=4, strategy="margin", audit_share=0.0)
    assert set(rest["sample_id"]) == set(names[:2]), "nobody is asked twice"


def test_by_default_nobody_is_asked(client: TestClient, place: Place) -> None:  # noqa: F811
    set_policies(place, "")
    ask(client, range(2))
    assert next_batch(place[1], size=4).empty
    assert referred.take_in_referred(open_context(), SelectionConfig()) == []


def test_only_what_is_marked_and_recent_is_asked(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client.app.state.hone._inference, "_needs_review_below", 0.0)  # type: ignore[attr-defined]
    ask(client, range(2))
    monkeypatch.setattr(client.app.state.hone._inference, "_needs_review_below", 1.0)  # type: ignore[attr-defined]
    marked = ask(client, range(2, 4))
    drain(place[1], place[0].traffic)
    with place[1].connect() as connection:
        rows = referred_rows(connection, "2000")
        assert list(rows) == [one["sample_id"] for one in reversed(marked)]
        assert referred_rows(connection, "9999") == {}


def test_a_long_ingest_holds_up_no_batch(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise LockBusy("intake is taken")

    set_policies(place, "[review]\nshare = 0.5\n")
    ask(client, range(2))
    monkeypatch.setattr(referred, "adopt_served", busy)
    assert next_batch(place[1], size=4).empty
    assert "wait for the next batch: intake is taken" in capsys.readouterr().out


def test_an_image_that_is_gone_holds_up_no_other(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
    tmp_path: Path,
) -> None:
    set_policies(place, "[review]\nshare = 1.0\n")
    answers = ask(client, range(3))
    [segment] = place[0].traffic.glob("*.seg")
    content = segment.read_bytes()
    segment.write_bytes(content.replace(png(1), bytes(len(png(1)))))
    batch = next_batch(place[1], size=3, audit_share=0.0)
    assert set(batch["sample_id"]) == {answers[0]["sample_id"], answers[2]["sample_id"]}


def test_only_images_that_are_retained_become_samples(
    client: TestClient,  # noqa: F811
    place: Place,  # noqa: F811
) -> None:
    quota = "random_share = 0.0001\nper_hour = 1\nper_day = 1\n"
    set_policies(place, f"[review]\nshare = 1.0\n[retention]\n{quota}")
    answers = ask(client, range(12))
    taken = referred.take_in_referred(open_context(), SelectionConfig())
    assert taken == [answers[0]["sample_id"]]
    with place[1].connect() as connection:
        assert connection.scalars(select(samples.c.sample_id)).all() == taken
