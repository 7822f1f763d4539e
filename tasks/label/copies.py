"""Copies that only features show: found when a batch is chosen, and one group from then on."""

from collections.abc import Sequence

import numpy as np

from core.locks import LockBusy
from labeling.batches.features import Features
from labeling.ingest.aligned_copies import aligned_copies
from labeling.ingest.join_copies import join_copies
from labeling.ledger.samples import groups_of, thumbnails_of
from tasks.context import Context


def join_copies_of(ctx: Context, features: Features | None, sample_ids: Sequence[str]) -> bool:
    """Join the samples of a batch with their copies among all that have features.

    True where there were any: the batch is to be chosen again, from the groups as they are now.
    """
    if features is None:
        return False
    pairs = _new_copies(ctx, features, [name for name in sample_ids if features.has([name])])
    if not pairs:
        return False
    try:
        join_copies(ctx.engine, pairs)
    except LockBusy as error:
        print(f"{len(pairs)} copies wait for the next round: {error}")
        return False
    count = len({name for pair in pairs for name in pair})
    print(f"{count} images are cropped or shifted copies of others: they count as one from now on")
    return True


def _new_copies(
    ctx: Context, features: Features, sample_ids: Sequence[str]
) -> list[tuple[str, str]]:
    """Pairs of copies that are in two groups as yet."""
    names = features.sample_ids.to_numpy()

    def thumbnails(rows: np.ndarray) -> list[bytes]:
        with ctx.engine.connect() as connection:
            known = thumbnails_of(connection, names[rows].tolist())
        return [known[name] for name in names[rows]]

    copies = aligned_copies(features.rows, features.numbers(sample_ids), thumbnails)
    pairs = [(str(names[one]), str(names[other])) for one, other in copies]
    with ctx.engine.connect() as connection:
        groups = groups_of(connection, {name for pair in pairs for name in pair})
    return [pair for pair in pairs if groups[pair[0]] != groups[pair[1]]]
