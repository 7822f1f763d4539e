"""The labelled audit rows that a figure or a verdict stands on.

Each group of near-duplicates counts once, each row as much as any other: the accuracy is the plain
share of right rows. Rows that were drawn before groups had numbers ("former" rows) count as long as
they are not outnumbered by the standing audit's; they decided verdicts, so they never report.
"""

from collections.abc import Collection
from enum import StrEnum

import pandas as pd
from sqlalchemy import Connection, select

from core.rows import chunks
from labeling.audit.numbers import Part
from labeling.ledger.reasons import Origin, Split
from labeling.ledger.rounds import IMAGE_COLUMNS
from labeling.ledger.samples import groups_of
from labeling.ledger.tables import audit, labels, samples

MARKS = ("sample_id", "number", "part")


class Population(StrEnum):
    """What a figure is about."""

    POOL = "pool"  # all images that came in
    TRAFFIC = "traffic"  # the images that the model in service answered


def audit_rows(
    connection: Connection,
    *,
    part: Part | None = None,
    population: Population = Population.POOL,
    served_groups: Collection[str] = (),
) -> pd.DataFrame:
    """The audit rows that have a label now, in the order of their numbers.

    Columns: IMAGE_COLUMNS, label, number and part. `served_groups` are the groups with an image in
    the traffic (`tasks.audit_rows.served_groups`); only these make rows of TRAFFIC.
    """
    in_force = (labels.c.sample_id == audit.c.sample_id) & labels.c.replaced_at.is_(None)
    query = (
        select(*samples.c[IMAGE_COLUMNS], labels.c.label)
        .select_from(audit)
        .join(samples, samples.c.sample_id == audit.c.sample_id)
        .join(labels, in_force)
    )
    rows = pd.read_sql(query, connection)
    return of_part(connection, rows, part=part, population=population, served_groups=served_groups)


def of_part(
    connection: Connection,
    rows: pd.DataFrame,
    *,
    part: Part | None = None,
    population: Population = Population.POOL,
    served_groups: Collection[str] = (),
) -> pd.DataFrame:
    """Those of audit rows (of a snapshot, too) that count, with number and part, in their order.

    `rows` needs sample_id, group_id and origin. All of a snapshot's go in: which of them count
    depends on the others.
    """
    marks = _load_marks(connection, rows["sample_id"].tolist())
    marked = rows.drop(columns=list(MARKS[1:]), errors="ignore").merge(marks, on="sample_id")
    is_former = marked["number"].isna()
    if (~is_former).sum() > is_former.sum():
        marked = marked[~is_former]
    ordered = marked.sort_values(["number", "sample_id"], na_position="last")
    once = ordered[~ordered["group_id"].duplicated()]
    if population == Population.TRAFFIC:
        once = once[once["group_id"].isin(list(served_groups))]
    else:
        once = once[~_asked_ahead(once)]
    if part is not None:
        once = once[once["part"] == part.value]
    return once.reset_index(drop=True)


def without_uncounted(
    connection: Connection, table: pd.DataFrame, *, part: Part | None = None
) -> pd.DataFrame:
    """The table of a snapshot without the audit rows that do not count for the pool, or a part."""
    audit_of_table = table[table["split"] == Split.TEST]
    counted = of_part(connection, audit_of_table, part=part)["sample_id"]
    return table[(table["split"] != Split.TEST) | table["sample_id"].isin(counted)]


def rows_unseen_by(
    connection: Connection, rows: pd.DataFrame, trained: Collection[str]
) -> pd.DataFrame:
    """The rows without those that are, or resemble, one of the samples that were `trained` on."""
    known = set(groups_of(connection, trained).values())
    groups = groups_of(connection, rows["sample_id"].tolist())
    is_known = rows["sample_id"].map(groups).isin(list(known))
    return rows[~is_known].reset_index(drop=True)


def _load_marks(connection: Connection, sample_ids: list[str]) -> pd.DataFrame:
    """Number and part of each of these that is in the audit; former rows are of the gate."""
    columns = audit.c[MARKS]
    loaded = [
        row
        for keys in chunks(sample_ids)
        for row in connection.execute(select(*columns).where(audit.c.sample_id.in_(keys))).tuples()
    ]
    marks = pd.DataFrame(loaded, columns=list(MARKS))
    part = marks["part"].astype(object)
    return marks.assign(
        number=marks["number"].astype(float), part=part.where(part.notna(), Part.GATE.value)
    )


def _asked_ahead(rows: pd.DataFrame) -> pd.Series:
    """Served rows that an answer to drift asked about before it was their turn.

    They stand for the traffic, and in the pool there would be too many of them.
    """
    is_served = rows["origin"] == Origin.SERVED
    turn = rows.loc[~is_served, "number"].max()
    return is_served & (rows["number"] > turn)
