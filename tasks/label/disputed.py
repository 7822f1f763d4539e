"""Served images about which confirmed truths differ: annotators decide."""

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Connection

from labeling.batches.select import SelectionConfig
from models.watching.outcome_queries import disputed_samples

SHARE = 10  # at most one place in ten: a batch is chosen to teach
LOOKED_AT = 1_000  # disputed images, the newest


def with_disputed(
    connection: Connection, selection: SelectionConfig, pool: Collection[str]
) -> SelectionConfig:
    """The selection with disputed images of the pool among those that come first."""
    places = min(selection.size // SHARE, selection.size - selection.promised)
    if places <= 0:
        return selection
    named = set(selection.named)
    disputed = [
        sample_id
        for sample_id in disputed_samples(connection, LOOKED_AT)
        if sample_id in pool and sample_id not in named
    ][:places]
    if not disputed:
        return selection
    print(f"{len(disputed)} images come first: confirmed truths about them differ")
    return replace(selection, named=(*selection.named, *disputed))
