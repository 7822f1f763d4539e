"""A workspace whose samples all came from the traffic: two labelled, two guessed, one in neither.

Its snapshot is on a real DVC remote, in a folder.
"""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from sqlalchemy import select

from core.database import connect, now, upgrade
from core.dvc_objects import ObjectStore
from core.git import tags
from core.locks import only_writer
from core.workspace import init_workspace
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ledger.answers import ANSWER_COLUMNS, record_answers
from labeling.ledger.tables import samples
from labeling.snapshots.publish import cut_snapshot
from models.serving.segments import SegmentWriter
from tasks.context import Context, open_context
from tasks.ingest import adopt_traffic
from tests.models.saved_models import CLASSES, png
from tests.models.serving.test_prediction_store import served

LONG_AGO = "2026-01-01T00:00:00.000000+00:00"
POLICY = "\n[audit]\nshare = 0.0001\n[retention]\nsample_days = 30\n"
IDS = [served(number, png(number)).sample_id for number in range(6)]
LABELLED, GUESSED, PLAIN, FRESH = IDS[:2], IDS[2:4], IDS[4], IDS[5]


def make_erasable_workspace(root: Path) -> None:
    """Images 0 to 4 were taken in long ago, 5 now; 0 and 1 have labels, 2 and 3 are soft rows."""
    workspace = init_workspace(root, list(CLASSES), image_size=16, policies=POLICY)
    upgrade(connect(workspace.database))
    with patch("labeling.ingest.intake.now", lambda: LONG_AGO):
        take_in(root, range(5))
    _label(open_at(root))
    take_in(root, range(5, 6))
    ctx = open_at(root)
    soft = pd.DataFrame({"sample_id": GUESSED, "label": "cat", "trust": 0.5, "source": "guess"})
    with only_writer(ctx.engine, "workspace-git") as token:
        name = cut_snapshot(
            ctx.engine, ctx.workspace, token, soft=soft.assign(probs='{"cat": 1.0}')
        )
    assert name == "snapshot-0001"
    ctx.engine.dispose()


def take_in(root: Path, numbers: range, start: int = 0) -> None:
    """Serve images, and make samples of them."""
    ctx = open_at(root)
    writer = SegmentWriter(ctx.workspace.traffic)
    for number in numbers:
        answer = vars(served(number, png(number))) | {"served_at": now()}
        answer["prediction_id"] = f"prediction-{number + start}"
        writer.append([(type(served(0, b""))(**answer), png(number))])
    writer.close()
    with patch("tasks.ingest.open_context", lambda: ctx):
        adopt_traffic.fn()
    ctx.engine.dispose()


def open_at(root: Path) -> Context:
    """The opened workspace."""
    with patch.dict("os.environ", HONE_WORKSPACE=str(root)):
        return open_context()


def sample_ids(ctx: Context) -> set[str]:
    """The samples that there are."""
    with ctx.engine.connect() as connection:
        return set(connection.scalars(select(samples.c.sample_id)))


def places_of(ctx: Context, content: bytes) -> list[Path]:
    """The files of the workspace, its cache and its remote that have these bytes."""
    files = [path for path in ctx.workspace.root.rglob("*") if path.is_file()]
    return [path for path in files if content in path.read_bytes()]


def objects_of(root: Path, name: str = "snapshot-0001") -> list[str]:
    """The objects that the commit of a snapshot names, as git and DVC have them."""
    with ObjectStore(root) as store:
        return [one.path for one in store.objects(tags(root)[name])]


def _label(ctx: Context) -> None:
    rows: list[list[Any]] = [
        ["here", f"{name}:ann", name, "ann", "answer", "cat", 1.0, "1", None] for name in LABELLED
    ]
    given = pd.DataFrame(rows, columns=ANSWER_COLUMNS)
    with only_writer(ctx.engine, "answers") as token:
        record_answers(ctx.engine, token, given, source="here", read=set(), classes=CLASSES)
        settle_labels(ctx.engine, token, SettlePolicy(answers_needed=1), CLASSES)
