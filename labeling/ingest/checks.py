"""What the stored images promise, checked: each sample's bytes are those that came in."""

from collections.abc import Iterator

import pandas as pd
from sqlalchemy import Engine, select

from core.files import file_sha256
from core.findings import MEND, RESTORE, Finding
from core.shards import read_image
from core.workspace import Workspace
from labeling.ledger.tables import location_of, samples


def samples_are_in_their_shards(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Shards that are missing or damaged, and samples whose bytes are not at their place."""
    with engine.connect() as connection:
        query = select(samples).order_by(samples.c.shard, samples.c.offset)
        rows = pd.read_sql(query, connection)
    for shard, members in rows.groupby("shard"):
        path = workspace.shards / str(shard)
        if path.is_file() and file_sha256(path) == path.stem:
            yield from _members_that_differ(workspace, members)
        else:
            state = "is damaged" if path.is_file() else "is missing"
            yield Finding(
                "I3",
                f"shard {shard} {state}: {len(members)} samples",
                f"{MEND}; what no snapshot has, `hone ingest` of the same files",
            )


def _members_that_differ(workspace: Workspace, members: pd.DataFrame) -> Iterator[Finding]:
    for row in members.itertuples():
        try:
            read_image(workspace.shards, location_of(row))
        except (OSError, ValueError) as error:
            yield Finding(
                "I3",
                f"sample {str(row.sample_id)[:12]}: {error}",
                f"its row does not fit the shard: {RESTORE}",
            )
