"""What is known of each sample beside its labels: its image's place, format and origin."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Column, Connection, select

from core.rows import chunks
from core.table_schema import Schema, Type
from labeling.ledger.tables import samples, sources

IMAGE_PLACES = Schema(
    "image places",
    {
        "sample_id": Type.TEXT,
        "shard": Type.TEXT,
        "offset": Type.INTEGER,
        "length": Type.INTEGER,
        "stored_sha256": Type.TEXT,
        "format": Type.TEXT,
    },
    key=("sample_id",),
)


def image_formats(connection: Connection) -> dict[str, str]:
    """JPEG or PNG, by sample."""
    return dict(connection.execute(select(*samples.c["sample_id", "format"])).tuples().all())


def original_paths(connection: Connection) -> dict[str, str]:
    """The path from which each sample was first ingested; none for what was served.

    Of several files with the same content it is the first one ingested.
    """
    query = select(*sources.c["sample_id", "path"]).order_by(
        sources.c.seen_at.desc(), sources.c.path.desc()
    )
    return dict(connection.execute(query).tuples().all())


def load_samples(connection: Connection) -> pd.DataFrame:
    """Every sample, with all that is on record of it."""
    return pd.read_sql(select(samples), connection)


def months_added(connection: Connection, sample_ids: Sequence[str]) -> dict[str, str]:
    """The month in which each of these samples came in, such as 2026-01."""
    months: dict[str, str] = {}
    for keys in chunks(sample_ids):
        query = select(*samples.c["sample_id", "added_at"]).where(samples.c.sample_id.in_(keys))
        months |= {name: added_at[:7] for name, added_at in connection.execute(query).tuples()}
    return months


def load_image_places(connection: Connection, sample_ids: Sequence[str]) -> pd.DataFrame:
    """Where the images of these samples are stored, and in which format."""
    columns = samples.c[tuple(IMAGE_PLACES.columns)]
    parts = [
        pd.read_sql(select(*columns).where(samples.c.sample_id.in_(keys)), connection)
        for keys in chunks(sample_ids)
    ]
    return IMAGE_PLACES.check(pd.concat(parts)) if parts else IMAGE_PLACES.empty()


def thumbnails_of(connection: Connection, sample_ids: Collection[str]) -> dict[str, bytes]:
    """The thumbnail of each of these samples."""
    return _by_sample(connection, samples.c.thumbnail, samples.c.sample_id, sample_ids)


def groups_of(connection: Connection, sample_ids: Collection[str]) -> dict[str, str]:
    """The present group of each of these samples."""
    return _by_sample(connection, samples.c.group_id, samples.c.sample_id, sample_ids)


def members_of(connection: Connection, group_ids: Collection[str]) -> dict[str, str]:
    """The group of each sample of these groups."""
    return _by_sample(connection, samples.c.group_id, samples.c.group_id, group_ids)


def _by_sample(
    connection: Connection, wanted: Column[Any], key: Column[Any], keys: Collection[str]
) -> dict[str, Any]:
    """A column of the samples whose key is among these, by sample."""
    by_sample: dict[str, Any] = {}
    for part in chunks(sorted(keys)):
        query = select(samples.c.sample_id, wanted).where(key.in_(part))
        by_sample |= dict(connection.execute(query).tuples().all())
    return by_sample
