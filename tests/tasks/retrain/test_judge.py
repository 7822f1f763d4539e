"""What a verdict is reached on: gate rows that neither model learnt from, the same for both."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.database import writing
from core.workspace import init_workspace
from labeling.audit.membership import draw_standing_audit, set_key
from labeling.audit.numbers import AuditPolicy, Part
from labeling.audit.rows import of_part
from labeling.ledger.metadata import save_metadata
from labeling.quality.student import TrainPolicy
from labeling.snapshots.publish import load_snapshot
from labeling.snapshots.table import SnapshotConfig
from models.judging.gate_evidence import Evidence
from models.judging.verdict import GatePolicy, stored_verdict
from models.network.network import NetworkConfig, build
from models.registry import releases, versions
from models.registry.model_store import save_model
from models.registry.overview import registry_overview
from models.scoring.predict import predict_table
from tasks.collect import freeze
from tasks.context import Context, open_context
from tasks.direct_run import direct_runs
from tasks.report import budget
from tasks.retrain import gather, judge
from tests.models.judging.cases import SPEED
from tests.models.saved_models import make_card
from tests.tasks.labelled_folders import import_images

CLASSES = ["cat", "dog"]
POLICY = GatePolicy(min_rows=5)
SHARE = AuditPolicy(share=0.6)


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    workspace = init_workspace(tmp_path / "workspace", CLASSES, image_size=16)
    monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(gather, "speeds", lambda ctx, models: dict.fromkeys(models, SPEED))
    ctx = open_context()
    with writing(ctx.engine) as connection:
        set_key(connection, b"a key of the tests")
    import_images(tmp_path / "first", cat=12, dog=12)
    return ctx


def draw(ctx: Context, policy: AuditPolicy = SHARE) -> None:
    """Draw the audit."""
    with writing(ctx.engine) as connection:
        draw_standing_audit(connection, policy)


def cut() -> str:
    """A snapshot of all labels."""
    name = freeze.freeze_labels.fn(SnapshotConfig(), TrainPolicy(), every=1)
    assert name is not None
    return str(name)


def save(ctx: Context, snapshot: str, seed: int, classes: tuple[str, ...] = ("cat", "dog")) -> str:
    """An untrained model that says to be trained on a snapshot."""
    import torch

    torch.manual_seed(seed)
    network = build(NetworkConfig("squeezenet1_1"), classes=len(classes), image_size=16).eval()
    table = load_snapshot(ctx.engine, ctx.workspace, snapshot).head(3)
    reference = predict_table(network, table, ctx.workspace.shards, 16)
    card = make_card(snapshot=snapshot, seed=seed, classes=classes)
    names = table["sample_id"].tolist()
    return save_model(ctx.engine, ctx.workspace.bento_home, network, card, reference, names)


def put_in_service(ctx: Context, version: str) -> None:
    """Release it by hand."""
    current = releases.current_release(ctx.engine)
    releases.release(
        ctx.engine, version=version, verdict_id=None, who="Ada", why="a test", override=True,
        expected=current.number if current else 0,
    )  # fmt: skip


def judged(ctx: Context, version: str, snapshot: str) -> Any:
    """The row of the verdict."""
    with direct_runs():
        verdict_id = judge.judge.fn(version, snapshot, POLICY)
    return versions.find_verdict(ctx.engine, str(verdict_id))


def evidence_on(ctx: Context, challenger: str, snapshot: str) -> Evidence:
    """What the criteria look at."""
    return gather.gather(ctx, gather.gate_rows(ctx, challenger, snapshot), POLICY)


def gate_samples(ctx: Context, snapshot: str) -> set[str]:
    """The audit rows of the snapshot that are of the gate's part."""
    table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
    with ctx.engine.connect() as connection:
        rows = of_part(connection, table[table["split"] == "test"], part=Part.GATE)
    return set(rows["sample_id"])


def test_a_first_model_is_judged_on_the_gate_rows_alone(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(ctx)
    snapshot = cut()
    first = save(ctx, snapshot, seed=1)
    evidence = evidence_on(ctx, first, snapshot)
    table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
    assert set(evidence.rows["pool"].sample_ids) == gate_samples(ctx, snapshot)
    assert 5 <= len(evidence.rows["pool"]) < (table["split"] == "test").sum()
    assert evidence.champion is None and set(evidence.rows) == {"pool"}
    capsys.readouterr()
    verdict = judged(ctx, first, snapshot)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{verdict.outcome}: {first}") and "the first model" in lines[0]
    stored = stored_verdict(verdict.outcome, verdict.reasons, verdict.metrics)
    assert {one.name for one in stored.criteria} >= {"rows", "leakage", "first_accuracy"}


def test_the_accuracy_that_is_shown_is_of_rows_that_no_verdict_uses(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    verdict = judged(ctx, save(ctx, snapshot, seed=1), snapshot)
    table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
    rest = set(table.loc[table["split"] == "test", "sample_id"]) - gate_samples(ctx, snapshot)
    assert verdict.metrics["reported"].keys() == {"pool"}
    assert verdict.metrics["reported"]["pool"]["rows"] == len(rest) > 0
    put_in_service(ctx, verdict.challenger)
    with ctx.engine.connect() as connection:
        champion = registry_overview(connection).champion
    assert champion is not None and champion.accuracy is not None
    assert champion.accuracy.rows == len(rest) and not champion.accuracy.used_by_gate


def test_the_run_of_a_judged_model_gets_both_accuracies_with_their_intervals(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.tracking._open_mirror", lambda *given, job: None)
    draw(ctx)
    snapshot = cut()
    version = save(ctx, snapshot, seed=1)
    for name, text in (("a", json.dumps({"version": version})), ("b", "{"), ("c", "{}")):
        (ctx.workspace.runs / name).mkdir(parents=True)
        (ctx.workspace.runs / name / "summary.json").write_text(text)
    verdict = judged(ctx, version, snapshot)
    shown = json.loads((ctx.workspace.runs / "a" / "summary.json").read_text())["verdict"]
    gate, reported = verdict.metrics, verdict.metrics["reported"]["pool"]
    assert shown == {
        "outcome": verdict.outcome,
        "gate/pool/accuracy": gate["challenger_accuracy"],
        "gate/pool/accuracy_low": gate["challenger_accuracy_low"],
        "gate/pool/accuracy_high": gate["challenger_accuracy_high"],
        "gate/pool/labels": gate["rows"],
        "reported/pool/accuracy": reported["value"],
        "reported/pool/accuracy_low": reported["low"],
        "reported/pool/accuracy_high": reported["high"],
        "reported/pool/labels": reported["rows"],
    }
    assert gate["rows"] == len(gate_samples(ctx, snapshot)) and reported["rows"] > 0


def test_the_advice_on_more_labels_looks_at_the_gates_rows_alone(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    audit = budget._load_rounds(ctx)[-1].audit
    assert set(audit["sample_id"]) == gate_samples(ctx, snapshot)
    table = load_snapshot(ctx.engine, ctx.workspace, snapshot)
    assert len(audit) < (table["split"] == "test").sum()


def test_both_models_are_measured_and_a_repeated_run_spends_nothing(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    champion, other, third = (save(ctx, snapshot, seed=seed) for seed in (1, 2, 3))
    put_in_service(ctx, champion)
    verdict = judged(ctx, other, snapshot)
    assert verdict.champion == champion and verdict.metrics["number"] == 1
    names = {row["name"] for row in verdict.metrics["criteria"]}
    assert names >= {"gain", "loss", "classes", "calibration", "robustness", "latency", "size"}
    assert judged(ctx, other, snapshot).verdict_id == verdict.verdict_id
    assert judged(ctx, third, snapshot).metrics["number"] == 2


def test_rows_that_the_champion_learnt_from_are_left_out(ctx: Context, tmp_path: Path) -> None:
    before = cut()  # most of the audit is not drawn yet, and is trained on
    champion = save(ctx, before, seed=1)
    put_in_service(ctx, champion)
    draw(ctx)
    import_images(tmp_path / "next", cat=10, dog=10)
    draw(ctx, AuditPolicy(share=0.7))
    after = cut()
    evidence = evidence_on(ctx, save(ctx, after, seed=2), after)
    table = load_snapshot(ctx.engine, ctx.workspace, before)
    learnt = set(table.loc[table["split"] != "test", "sample_id"])
    used = set(evidence.rows["pool"].sample_ids)
    assert gate_samples(ctx, after) & learnt
    assert used == gate_samples(ctx, after) - learnt and used


def test_a_class_that_was_added_is_never_the_champions_answer(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    put_in_service(ctx, save(ctx, snapshot, seed=1))
    challenger = save(ctx, snapshot, seed=2, classes=("cat", "cow", "dog"))
    rows = evidence_on(ctx, challenger, snapshot).rows["pool"]
    assert rows.champion is not None
    assert rows.champion.outputs.shape == rows.challenger.outputs.shape == (len(rows), 3)
    assert (rows.champion.outputs[:, 1] == 0).all()


def test_a_class_that_was_taken_away_is_no_comparison(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    put_in_service(ctx, save(ctx, snapshot, seed=1, classes=("cat", "cow", "dog")))
    verdict = judged(ctx, save(ctx, snapshot, seed=2), snapshot)
    assert verdict.outcome == "HOLD"
    assert verdict.reasons[0].startswith("champion: probabilities are")


def test_the_values_of_any_column_are_slices_and_change_nothing_else(ctx: Context) -> None:
    draw(ctx)
    snapshot = cut()
    first, second = save(ctx, snapshot, seed=1), save(ctx, snapshot, seed=2)
    put_in_service(ctx, first)
    before = evidence_on(ctx, second, snapshot).rows["pool"]
    lens = dict(zip(sorted(before.sample_ids), ["50", "35"] * 99, strict=False))
    given = {name: {"lens": value} for name, value in lens.items()}
    fingerprint = gather.gate_rows(ctx, second, snapshot).fingerprint
    with writing(ctx.engine) as connection:
        save_metadata(connection, {name: given[name] for name in before.sample_ids[1:]})
    after = evidence_on(ctx, second, snapshot).rows["pool"]
    assert set(after.slices) - set(before.slices) == {"lens"}
    assert after.slices["lens"] == [None, *(lens[name] for name in before.sample_ids[1:])]
    assert {*after.slices} == {"source", "origin", "folder", "month", "lens"}
    assert {str(name).rpartition("/")[2] for name in after.slices["folder"]} == {"cat", "dog"}
    assert gather.gate_rows(ctx, second, snapshot).fingerprint == fingerprint
    assert freeze.freeze_labels.fn(SnapshotConfig(), TrainPolicy(), every=1) is None
