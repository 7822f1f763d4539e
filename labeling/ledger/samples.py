"""What is known of each sample beside its labels: its format and where it came from."""

import pandas as pd
from sqlalchemy import Connection, select

from labeling.ledger.tables import samples, sources


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
