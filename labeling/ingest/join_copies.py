"""Samples found to be near-duplicates after they were taken in: one group from then on."""

from collections.abc import Sequence

from sqlalchemy import Engine

from core import journal
from core.database import writing
from core.locks import fence, only_writer
from labeling.ingest.near_duplicates import join_groups
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import samples

PATIENCE = 5.0  # seconds for an intake that is under way; the next round joins them otherwise


def join_copies(engine: Engine, pairs: Sequence[tuple[str, str]]) -> set[str]:
    """Make the groups of each pair one, as an intake does; return the former names of groups.

    What holds for a group holds for all of it then: with an audit sample in it, none is trained on.
    `LockBusy` while an intake is under way.
    """
    names = {name for pair in pairs for name in pair}
    if not names:
        return set()
    with only_writer(engine, "intake", PATIENCE) as token, writing(engine) as connection:
        fence(connection, token)
        _, renamed = join_groups([], pairs, groups_of(connection, names))
        for old, new in renamed.items():
            journal.update(connection, samples, samples.c.group_id == old, group_id=new)
    return set(renamed)
