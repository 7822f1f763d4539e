from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from core import journal
from core.database import now, writing
from models.registry.overview import Accuracy, registry_overview, release_origin
from models.registry.releases import releases
from models.registry.versions import models, verdicts
from tests.labeling.databases import make_engine
from tests.models.registry.named_models import A, B, C, challenge, promote


def test_a_shadow_does_not_change_since_when_the_champion_is_released(engine: Engine) -> None:
    promote(engine, A)
    challenge(engine, B, 10, who="Bob")
    with engine.connect() as connection:
        champion = registry_overview(connection).champion
    assert champion is not None
    assert (champion.version, champion.who) == (A, "hone retrain")


def test_a_canary_came_to_clients_by_its_own_row_and_on_no_verdict_of_another(
    engine: Engine,
) -> None:
    promote(engine, A)
    challenge(engine, C)
    challenge(engine, B, 10)
    with engine.connect() as connection:
        first, canary, shadow = (release_origin(connection, one) for one in (A, B, C))
    assert first is not None and (first.action, first.outcome) == ("release", "PROMOTE")
    assert canary is not None and (canary.number, canary.action) == (3, "canary")
    assert (canary.outcome, shadow) == (None, None)


GATE = {
    "challenger_accuracy": 0.9,
    "challenger_accuracy_low": 0.8,
    "challenger_accuracy_high": 0.95,
}
POOL: dict[str, Any] = {"value": 0.85, "low": 0.7, "high": 0.93, "rows": 20}
TRAFFIC: dict[str, Any] = {"value": 0.5, "low": 0.3, "high": 0.7, "rows": 15}


@pytest.mark.parametrize(
    ("metrics", "pool", "traffic", "words"),
    [
        (
            {**GATE, "rows": 50},
            Accuracy(0.9, 0.8, 0.95, 50, used_by_gate=True),
            None,
            "0.900 [0.800, 0.950] on 50 audit images of the pool, which verdicts use",
        ),
        (
            {**GATE, "rows": 50, "reported": {"pool": POOL}},
            Accuracy(**POOL),
            None,
            "0.850 [0.700, 0.930] on 20 audit images of the pool",
        ),
        (
            {"rows": 50, "reported": {"pool": POOL, "traffic": TRAFFIC}},
            Accuracy(**POOL),
            Accuracy(**TRAFFIC, population="traffic"),
            "0.850 [0.700, 0.930] on 20 audit images of the pool",
        ),
        ({"rows": 3}, None, None, "None"),
    ],
)
def test_the_champions_accuracy_is_that_on_the_reporting_part(
    tmp_path: Path,
    metrics: dict[str, Any],
    pool: Accuracy | None,
    traffic: Accuracy | None,
    words: str,
) -> None:
    engine = make_engine(tmp_path, [])
    made: dict[str, Any] = {"snapshot": "x", "weights_sha256": "x", "code_commit": "x"}
    made |= {"seed": 0}
    with writing(engine) as connection:
        row: dict[str, Any] = {
            "version": "hone:1",
            **made,
            "config": {},
            "metrics": {},
            "created_at": now(),
        }
        journal.insert(connection, models, [row])
        verdict: dict[str, Any] = {
            "verdict_id": "v",
            "challenger": "hone:1",
            "champion": None,
            "snapshot": "x",
        }
        verdict |= {"rows_fingerprint": "f", "outcome": "PROMOTE", "reasons": []}
        journal.insert(connection, verdicts, [{**verdict, "metrics": metrics, "decided_at": now()}])
        release: dict[str, Any] = {
            "number": 1,
            "champion": "hone:1",
            "verdict_id": "v",
            "who": "ann",
            "why": "it",
        }
        journal.insert(connection, releases, [{**release, "released_at": now()}])
        champion = registry_overview(connection).champion
    assert champion is not None
    assert (champion.accuracy, champion.traffic_accuracy) == (pool, traffic)
    assert str(champion.accuracy) == words
