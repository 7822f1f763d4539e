"""A database with samples in it, for tests of what stands on the ledger."""

import hashlib
from pathlib import Path

from sqlalchemy import Engine

from core import journal
from core.database import connect, now, upgrade, writing
from labeling.ledger.tables import samples


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


def _thumbnail(group: str) -> bytes:
    """What all of a group look like, and nothing else does."""
    return hashlib.sha256(group.encode()).digest() * 8
