"""What a challenger and the champion answer differently, drawn with real networks."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core import journal
from core.database import now, writing
from core.shards import pack
from labeling.ledger import duels
from labeling.ledger.tables import samples
from models.judging.criterion import Criterion, Status
from models.judging.gate import conclude
from models.judging.gate_evidence import Evidence, Judged
from models.judging.verdict import GatePolicy
from models.registry.releases import champion
from models.serving.segments import SegmentWriter, Served
from models.serving.shadow_records import FOLDER, ShadowAnswer, ShadowRecord, record_of
from tasks.context import Context, open_context
from tasks.retrain import duel as starting
from tests.models.saved_models import make_workspace, png, put_in_service, save

IMAGES = 24
OPEN = (
    Criterion("rows", Status.PASS, "40 rows"),
    Criterion("gain", Status.UNKNOWN, "not shown to be better", rejects=True),
    Criterion("loss", Status.UNKNOWN, "cannot be excluded"),
)
POLICY = GatePolicy()


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A workspace with images in its pool, and a model in service."""
    workspace, engine = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    names = [f"{number:064x}" for number in range(IMAGES)]
    shard = pack([(name, png(number)) for number, name in enumerate(names)])
    shard.write(workspace.shards)
    about = {"format": "PNG", "width": 20, "height": 20, "origin": "ingest", "added_at": now()}
    rows = [
        {"sample_id": name, "group_id": f"group-{number // 2:02d}", "shard": place.shard,
         "offset": place.offset, "length": place.length, "stored_sha256": place.sha256,
         "thumbnail": bytes(256), **about}
        for number, (name, place) in enumerate(zip(names, shard.places, strict=True))
    ]  # fmt: skip
    with writing(engine) as connection:
        journal.insert(connection, samples, rows)
    put_in_service(engine, save(workspace, engine, seed=0))
    engine.dispose()
    return open_context()


GATE: Any = SimpleNamespace(snapshot="snapshot-0001", fingerprint="f00d")  # as far as needed


def evidence(champion: str, challenger: str, learnt: frozenset[str] = frozenset()) -> Evidence:
    """What the gate measured, as far as a duel needs it."""
    return Evidence(Judged(challenger), Judged(champion, learnt), classes=(), rows={})


def begin(
    ctx: Context, challenger: str, policy: GatePolicy = POLICY, learnt: frozenset[str] = frozenset()
) -> duels.Duel | None:
    facts = evidence(str(champion(ctx.engine)), challenger, learnt)
    verdict = conclude(OPEN, {"rows": 40})
    return starting.begin_if_open(ctx, GATE, facts, verdict, policy, "verdict")


def test_what_two_networks_answer_differently_is_drawn_once_for_each_group(ctx: Context) -> None:
    challenger = save(ctx.workspace, ctx.engine, seed=1)
    duel = begin(ctx, challenger, learnt=frozenset({"group-00", "group-05"}))
    assert duel is not None
    (stratum,) = duel.plan["plan"]["strata"]
    assert (stratum["population"], stratum["scored"]) == ("pool", 10)
    assert duel.plan["plan"]["number"] == 1
    assert duel.plan["rows_fingerprint"] not in ("", GATE.fingerprint)  # a test of its own
    with ctx.engine.connect() as connection:
        drawn = duels.load_duel_samples(connection, duel.duel_id)
    assert 0 < len(drawn) == stratum["disagreements"] <= 10
    outputs = (np.array(drawn[f"{who}_output"].tolist()) for who in ("champion", "challenger"))
    answers = [output.argmax(axis=1) for output in outputs]
    assert (answers[0] != answers[1]).all()
    groups = {int(str(name), 16) // 2 for name in drawn["sample_id"]}
    assert len(groups) == len(drawn)
    assert not groups & {0, 5}
    assert begin(ctx, challenger) == duel


def test_where_nothing_can_be_asked_the_audit_decides(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    challenger = save(ctx.workspace, ctx.engine, seed=1)
    everything = frozenset(f"group-{number:02d}" for number in range(IMAGES // 2))
    assert begin(ctx, challenger, learnt=everything) is None  # the pool is used up
    assert begin(ctx, challenger, GatePolicy(population="traffic")) is None  # nothing was served
    assert capsys.readouterr().out.count("there is no sample that neither") == 2
    assert begin(ctx, challenger, GatePolicy(most_answers=0)) is None
    same = save(ctx.workspace, ctx.engine, seed=0)
    assert begin(ctx, same) is None
    assert "answer alike on what may be asked" in capsys.readouterr().out


def serve_beside(ctx: Context, challenger: str | None) -> set[str]:
    """Traffic that the champion answered, and the challenger in shadow; the ids of its images."""
    version, writer = str(champion(ctx.engine)), SegmentWriter(ctx.workspace.traffic)
    images = [png(number) for number in range(100, 112)]
    rows = [
        Served(f"{number:032x}", "r", version, hashlib.sha256(image).hexdigest(), "cat", 0.5,
               [0.5, 0.3, 0.2], True, now())
        for number, image in enumerate(images)
    ]  # fmt: skip
    writer.append(list(zip(rows, images, strict=True)))
    writer.close()
    if challenger is not None:
        beside = tuple(
            ShadowAnswer(row.prediction_id, row.sample_id, None, now(), "cat", True, "dog", 0.5,
                         True)
            for row in rows
        )  # fmt: skip
        record = ShadowRecord("1" * 32, 1, version, challenger, now(), answers=beside)
        writer = SegmentWriter(ctx.workspace.traffic / FOLDER)
        writer.append_parts([(record_of(record), b"")])
        writer.close()
    return {row.sample_id for row in rows}


@pytest.mark.parametrize("in_shadow", [True, False])
def test_disagreements_in_use_are_candidates_of_the_duel(ctx: Context, in_shadow: bool) -> None:
    challenger = save(ctx.workspace, ctx.engine, seed=1)
    served = serve_beside(ctx, challenger if in_shadow else None)
    duel = begin(ctx, challenger)
    assert duel is not None
    strata = {one["population"]: one for one in duel.plan["plan"]["strata"]}
    with ctx.engine.connect() as connection:
        drawn = duels.load_duel_samples(connection, duel.duel_id)
    assert bool(served & set(drawn["sample_id"])) == in_shadow
    assert ("traffic" in strata) == in_shadow
    if in_shadow:
        assert strata["traffic"]["scored"] >= strata["traffic"]["disagreements"] > 0


@pytest.mark.parametrize("place", range(3))
def test_a_challenger_that_something_holds_back_has_no_duel(place: int) -> None:
    failed = [*OPEN]
    failed[place] = Criterion(failed[place].name, Status.FAIL, "", rejects=failed[place].rejects)
    verdict = conclude(tuple(failed), {"rows": 40})
    nowhere: Any = None  # nothing is looked up
    facts = evidence("hone:0001-a", "hone:0002-b")
    assert starting.begin_if_open(nowhere, GATE, facts, verdict, POLICY, "verdict") is None
