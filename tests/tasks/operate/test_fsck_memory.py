"""A check reads in parts: its memory does not grow with the workspace."""

import gc
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from core import journal
from core.database import now, writing
from core.locks import only_writer
from core.rows import chunks
from core.workspace import Workspace, init_workspace
from labeling.ledger.answers import answer_digest
from labeling.ledger.tables import answers, label_answers, labels
from labeling.snapshots.publish import cut_snapshot
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter
from tasks.operate import fsck
from tests.labeling.databases import make_engine, store_images
from tests.models.saved_models import save
from tests.models.serving.test_prediction_store import served

FEW, MANY = 1_500, 6_000
GROWS_BY = 1.25  # at most, where four times as much is there


def test_four_times_the_rows_take_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ENTRY_ROWS", 100)  # so that few rows fill every buffer, too
    usual = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # else garbage of several checks is there at once
    peaks = []
    for rows in (FEW, MANY):
        workspace = fill(tmp_path / str(rows), rows)
        monkeypatch.setenv("HONE_WORKSPACE", str(workspace.root))
        fsck.check()  # what is imported and kept is no part of it
        tracemalloc.start()
        assert fsck.check() == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    gc.set_threshold(*usual)
    assert peaks[1] < peaks[0] * GROWS_BY, peaks


def fill(root: Path, rows: int) -> Workspace:
    """A sound workspace of so many samples, each with an answer and a label, and a tenth served."""
    workspace = init_workspace(root, ["cat", "dog", "eel"], image_size=16)
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(rows)]
    engine = make_engine(root, names)
    for part in chunks(names, 2_000):
        store_images(engine, workspace, {name: name.encode() for name in part})
    _label(engine, names)
    with only_writer(engine, "workspace-git") as token:
        assert cut_snapshot(engine, workspace, token)
    version = save(workspace, engine)
    writer = SegmentWriter(workspace.traffic)
    writer.append([(served(n, b"%d" % n, version), b"%d" % n) for n in range(rows // 10)])
    writer.close()
    drain(engine, workspace.traffic)
    engine.dispose()
    return workspace


def _label(engine: Engine, names: list[str]) -> None:
    given: dict[str, Any] = {"annotator": "ann", "kind": "answer", "value": "cat"}
    digest = answer_digest(given)
    at = now()
    with writing(engine) as connection:
        made = journal.insert(connection, answers, [
            {**given, "source": "here", "external_id": name, "sample_id": name, "updated_at": "1",
             "digest": digest, "seen_at": at}
            for name in names
        ])  # fmt: skip
        settled = journal.insert(connection, labels, [
            {"sample_id": name, "label": "cat", "trust": 1.0, "annotators": ["ann"],
             "method": "majority", "settled_at": at}
            for name in names
        ])  # fmt: skip
        journal.insert(connection, label_answers, [
            {"label_seq": label["seq"], "answer_seq": answer["seq"]}
            for label, answer in zip(settled, made, strict=True)
        ])  # fmt: skip
