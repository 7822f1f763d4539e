"""A workspace made by version 0.1.0 (tests/fixtures) opens, keeps everything, and goes on."""

import json
import lzma
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from core.database import writing
from core.locks import only_writer
from labeling.audit.membership import draw_standing_audit, set_key
from labeling.audit.numbers import AuditPolicy, Part, audit_number
from labeling.audit.rows import audit_rows
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger.tables import audit, label_answers, labels
from labeling.snapshots.publish import list_snapshots, load_snapshot
from models.registry import model_store, releases
from models.serving import prediction_store
from tasks.context import Context, open_context
from tasks.operate import fsck

FIXTURES = Path(__file__).parent / "fixtures"
FACTS = json.loads(lzma.decompress((FIXTURES / "workspace-0.1.0-facts.json.xz").read_bytes()))
RENAMED = {
    "samples": {"look": "thumbnail"},
    "assignments": {
        "guess": "pre_annotation",
        "guess_model": "pre_annotation_model",
        "neighbour": "most_similar",
        "wanted": "required_annotators",
        "outside_id": "external_id",
    },
    "answers": {"outside_id": "external_id"},
    "refused_answers": {"outside_id": "external_id"},
}
VALUES = {
    "doubt_herding": "uncertainty_coverage",
    "rare_doubt_herding": "rare_uncertainty_coverage",
    "second_look": "relabel",
    "oracle": "simulated",
}
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(FIXTURES / "workspace-0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "workspace").chmod(0o750)  # what `hone fsck --repair` does after an upgrade
    monkeypatch.setenv("HONE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("HONE_DATABASE_URL", raising=False)
    # Predictions in it wait to be drained since 29 November 2026, longer each day.
    monkeypatch.setattr("models.serving.checks.WAITS_DAYS", 36_500)
    return tmp_path / "workspace"


def rows_of(root: Path) -> Rows:
    """Every row of every table, read without the project's code."""
    database = sqlite3.connect(root / "hone.sqlite")
    database.row_factory = sqlite3.Row
    names = [
        name
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    return {
        name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in names
    }


REMOVED = {"models": ("parent",), "releases": ("challenger", "challenger_share")}  # never written


def as_renamed(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """What an old row must look like after the migration."""
    new = {RENAMED.get(table, {}).get(name, name): value for name, value in row.items()}
    for name in ("reason", "strategy", "source"):
        if isinstance(new.get(name), str):
            new[name] = VALUES.get(new[name], new[name])
    if table == "rounds":
        for old in ("rare_doubt_herding", "doubt_herding"):
            for name in ("rule", "config"):
                text = new[name] or ""
                if old in text and VALUES[old] not in text:
                    new[name] = text.replace(old, VALUES[old])
    if table == "labels":
        new.pop("answers")
    for name in REMOVED.get(table, ()):
        assert not new.pop(name)
    return new


def test_every_row_is_kept_under_its_new_names(root: Path) -> None:
    before = rows_of(root)
    assert {name: len(rows) for name, rows in before.items()} == FACTS["rows"]
    open_context()
    after = rows_of(root)
    for table, rows in before.items():
        if table in ("alembic_version", "locks"):
            continue
        kept = [{name: row[name] for name in as_renamed(table, rows[0])} for row in after[table]]
        assert kept == [as_renamed(table, row) for row in rows], table


def test_a_label_keeps_the_answers_it_rests_on(root: Path) -> None:
    cited = {row["seq"]: sorted(json.loads(row["answers"])) for row in rows_of(root)["labels"]}
    ctx = open_context()
    linked: dict[int, list[int]] = {seq: [] for seq in cited}
    with ctx.engine.connect() as connection:
        query = select(label_answers).order_by(label_answers.c.answer_seq)
        for row in connection.execute(query):
            linked[row.label_seq].append(row.answer_seq)
    assert linked == cited
    assert any(len(seqs) > 1 for seqs in linked.values())


def test_every_promise_holds_and_snapshots_and_the_champion_load(root: Path) -> None:
    ctx = open_context()
    assert fsck.check() == []
    known = list_snapshots(ctx.engine).set_index("name")["fingerprint"].to_dict()
    assert known == {name: row["fingerprint"] for name, row in FACTS["snapshots"].items()}
    for name in map(str, known):
        table = load_snapshot(ctx.engine, ctx.workspace, name)
        assert table["split"].value_counts().to_dict() == count_splits(name)
    champion = releases.champion(ctx.engine)
    assert champion is not None and champion == FACTS["champion"]
    loaded = model_store.load_model(ctx.engine, ctx.workspace.bento_home, champion)
    assert loaded.network.temperature == 1  # there was none, and its outputs stay as they were


def count_splits(name: str) -> dict[str, int]:
    found = FACTS["splits"][name]
    if all(isinstance(value, int) for value in found.values()):
        return dict(found)
    counts: dict[str, int] = {}
    for split in found.values():
        counts[split] = counts.get(split, 0) + 1
    return counts


def test_what_was_served_and_not_taken_over_yet_comes_in(root: Path) -> None:
    ctx = open_context()
    assert prediction_store.drain(ctx.engine, ctx.workspace.traffic) == 6
    with ctx.engine.connect() as connection:
        table = prediction_store.predictions
        assert connection.scalar(select(func.count()).select_from(table)) == 38


def test_labels_settle_once_more_and_then_nothing_is_left_to_settle(root: Path) -> None:
    ctx = open_context()
    before, classes = in_force(ctx), ctx.workspace.class_names
    with only_writer(ctx.engine, "answers") as token:
        counts = settle_labels(ctx.engine, token, ctx.policies.settling, classes)
        again = settle_labels(ctx.engine, token, ctx.policies.settling, classes)
    after = in_force(ctx)
    assert set(again.values()) == {0}
    assert len(before.keys() - after.keys()) == counts["withdrawn"]
    assert len(after) == len(before) + counts["settled"] - counts["withdrawn"]


def in_force(ctx: Context) -> dict[str, str]:
    query = select(labels.c.sample_id, labels.c.label).where(labels.c.replaced_at.is_(None))
    with ctx.engine.connect() as connection:
        return dict(connection.execute(query).tuples().all())


def test_the_standing_audit_takes_over_and_rows_of_before_count_until_it_has_more(
    root: Path,
) -> None:
    ctx = open_context()
    with writing(ctx.engine) as connection:
        set_key(connection, b"a key of the test")
        before = audit_rows(connection)
        assert before["number"].isna().all() and set(before["part"]) == {Part.GATE}
        former = set(connection.scalars(select(audit.c.sample_id)))
        draw_standing_audit(connection, AuditPolicy())
        after = audit_rows(connection)
        drawn = {row.sample_id: row for row in connection.execute(select(audit))}
    joined = {name for name in former if audit_number(b"a key of the test", name) < 0.2}
    assert 0 < len(joined) < len(former) < len(drawn)
    assert all((row.number is None) == (name in former - joined) for name, row in drawn.items())
    assert {drawn[name].part for name in joined} == {Part.GATE}  # these decided before
    assert set(before["sample_id"]) <= set(after["sample_id"])
    assert after["number"].notna().any()
    assert fsck.check() == []
