"""A workspace, images beside it, and ways to import a label file into it."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Engine, insert, select

from core.database import connect, now, upgrade, writing
from core.locks import only_writer
from core.workspace import Workspace, init_workspace
from labeling.audit.membership import set_key
from labeling.audit.numbers import AuditPolicy
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.formats.imports import match, read_labels, record_gold, record_import
from labeling.kinds import KINDS
from labeling.ledger.tables import answers, audit, labels, rounds
from labeling.snapshots.publish import cut_snapshot

KEY = b"key 4451"  # by which no picture named by one letter is in the standing audit


@dataclass
class House:
    """A workspace with its ledger."""

    workspace: Workspace
    engine: Engine

    def take(
        self,
        path: Path,
        format: str | None = None,
        *,
        images: Path | None = None,
        gold: bool = False,
    ) -> dict[str, Any]:
        """Import a label file and settle; what became of its images and of its rows."""
        classes = self.workspace.class_names
        file = read_labels(path, classes, KINDS[self.workspace.kind], format)
        none = AuditPolicy(share=0)
        matched = match(self.engine, self.workspace, file, folder=images, audit=none)
        record = record_gold if gold else record_import
        with only_writer(self.engine, "answers") as token:
            recorded = record(self.engine, token, matched, classes)
            settle_labels(self.engine, token, SettlePolicy(), classes)
        return {
            **asdict(recorded.counts),
            "unlabelled": recorded.unlabelled,
            "problems": recorded.problems,
            "images": asdict(matched.images),
            "notes": file.notes,
        }

    def labels(self) -> dict[str, str]:
        """The labels in force."""
        return self._pairs(select(*labels.c["sample_id", "label"]), labels)

    def answers(self) -> list[tuple[str, str, str | None]]:
        """Who says what in which way, sorted."""
        columns = answers.c["annotator", "kind", "value"]
        with self.engine.connect() as connection:
            rows = connection.execute(select(*columns).where(answers.c.replaced_at.is_(None)))
            return sorted((row.annotator, row.kind, row.value) for row in rows)

    def cut(self) -> str | None:
        """Cut a snapshot."""
        with only_writer(self.engine, "workspace-git") as token:
            return cut_snapshot(self.engine, self.workspace, token)

    def measure(self, sample_id: str) -> None:
        """Make a sample one of the audit."""
        about = {"strategy": "random", "seed": 0, "config": {}, "why": "", "chosen_at": now()}
        drawn = {"inclusion_probability": 0.1, "drawn_at": now()}
        with writing(self.engine) as connection:
            connection.execute(insert(rounds).values(round_id="round-0001", number=1, **about))
            connection.execute(
                insert(audit).values(sample_id=sample_id, round_id="round-0001", **drawn)
            )

    def _pairs(self, query: Any, table: Any) -> dict[str, str]:
        with self.engine.connect() as connection:
            rows = connection.execute(query.where(table.c.replaced_at.is_(None)))
            return dict(rows.tuples().all())


def make_house(root: Path, *classes: str) -> House:
    """A new, empty workspace."""
    workspace = init_workspace(root, classes or ("cat", "dog"), image_size=8)
    engine = connect(workspace.database)
    upgrade(engine)
    with writing(engine) as connection:
        set_key(connection, KEY)
    return House(workspace, engine)


def picture(number: int, kind: str = "PNG") -> bytes:
    """An image that resembles no other."""
    noise = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def put_pictures(folder: Path, *names: str) -> list[Path]:
    """A picture under each of these names; one name always has the same."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if path.suffix == ".jpg" else "PNG"
        path.write_bytes(picture(sum(map(ord, path.stem)), kind))
    return paths
