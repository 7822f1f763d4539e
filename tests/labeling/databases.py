"""A database with samples in it, for tests of what stands on the ledger."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Engine

from core import journal
from core.database import connect, now, upgrade, writing
from core.shards import pack
from core.workspace import Workspace
from labeling.ledger.tables import audit, samples


def make_engine(
    folder: Path, sample_ids: list[str], groups: dict[str, str] | None = None
) -> Engine:
    """A migrated SQLite database that knows these samples."""
    engine = connect(f"sqlite:///{folder / 'hone.sqlite'}")
    upgrade(engine)
    rows = [
        {
            "sample_id": sample_id,
            "shard": "s.tar",
            "offset": 0,
            "length": 1,
            "stored_sha256": sample_id,
            "format": "PNG",
            "width": 8,
            "height": 8,
            "thumbnail": _thumbnail((groups or {}).get(sample_id, sample_id)),
            "group_id": (groups or {}).get(sample_id, sample_id),
            "origin": "served" if sample_id.startswith("served") else "ingest",
            "added_at": now(),
        }
        for sample_id in sample_ids
    ]
    with writing(engine) as connection:
        journal.insert(connection, samples, rows)
    return engine


def store_images(engine: Engine, workspace: Workspace, contents: Mapping[str, bytes]) -> str:
    """Put the images of known samples into one shard; return its name."""
    shard = pack(list(contents.items()))
    shard.write(workspace.shards)
    rows = [
        {"sample_id": name, "shard": place.shard, "offset": place.offset,
         "length": place.length, "stored_sha256": place.sha256}
        for name, place in zip(contents, shard.places, strict=True)
    ]  # fmt: skip
    with writing(engine) as connection:
        journal.update_rows(connection, samples, rows)
    return shard.places[0].shard


def put_in_audit(engine: Engine, sample_ids: Sequence[str], *, part: str = "gate") -> None:
    """Let these samples be the standing audit, with numbers in their order."""
    with writing(engine) as connection:
        rows = [
            {
                "sample_id": name,
                "round_id": None,
                "drawn_at": now(),
                "inclusion_probability": 0.2,
                "number": place / 1000,
                "part": part,
                "report_share": 0.3,
            }
            for place, name in enumerate(sample_ids)
        ]
        journal.insert(connection, audit, rows)


def _thumbnail(group: str) -> bytes:
    """What all of a group look like, and nothing else does."""
    return hashlib.sha256(group.encode()).digest() * 8
