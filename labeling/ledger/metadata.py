"""What was given about samples beside their labels, and what is known of them anyway, as columns.

The values of a column are the slices on which a verdict looks for a loss. At most `MOST_COLUMNS`
columns are stored, and of a column the `MOST_SLICES` most frequent values are judged.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from core import journal
from core.database import now
from core.rows import chunks
from core.text import listed
from labeling.ledger.reasons import Origin
from labeling.ledger.samples import months_added
from labeling.ledger.tables import audit, labels, sample_metadata, samples, sources

MOST_COLUMNS = 20
MOST_SLICES = 50  # of one column: more would each be too rare to tell anything about
# Columns of every sample, known without a file: where it came from, and when it came in.
DERIVED = ("origin", "folder", "month")

Metadata = Mapping[str, Mapping[str, str]]  # sample: column: value


@dataclass(frozen=True)
class MetadataCounts:
    """What became of the values of a file."""

    new: int
    changed: int
    known: int


@dataclass(frozen=True)
class SliceCounts:
    """How many samples have a value of a column, with a label in force, and in the audit so."""

    column: str
    value: str
    samples: int
    labels: int
    audit: int


def save_metadata(connection: Connection, given: Metadata) -> MetadataCounts:
    """Store what was given; a value that differs from an earlier one takes its place.

    A ValueError where the workspace would have more than `MOST_COLUMNS` columns.
    """
    columns = set(metadata_columns(connection)).union(*given.values())
    if len(columns) > MOST_COLUMNS:
        raise ValueError(
            f"{len(columns)} columns of metadata, at most {MOST_COLUMNS} are stored: "
            f"{listed(sorted(columns))}; leave out of the file what no verdict should look at"
        )
    wanted = {(sample, name): value for sample, values in given.items()
              for name, value in values.items()}  # fmt: skip
    stored = {(sample, name): value for sample, values in metadata_of(connection, given).items()
              for name, value in values.items()}  # fmt: skip
    at = now()
    new, changed = (
        [
            {"sample_id": key[0], "name": key[1], "value": wanted[key], "given_at": at}
            for key in wanted
            if (key in stored) is there and stored.get(key) != wanted[key]
        ]
        for there in (False, True)
    )
    journal.insert(connection, sample_metadata, new)
    journal.update_rows(connection, sample_metadata, changed)
    return MetadataCounts(len(new), len(changed), len(wanted) - len(new) - len(changed))


def metadata_columns(connection: Connection) -> list[str]:
    """The columns that something was given for, sorted."""
    names = select(sample_metadata.c.name).distinct().order_by(sample_metadata.c.name)
    return list(connection.scalars(names))


def metadata_of(connection: Connection, sample_ids: Sequence[str] | Metadata) -> Metadata:
    """What was given about each of these samples."""
    values: dict[str, dict[str, str]] = {}
    for keys in chunks(sorted(sample_ids)):
        query = select(*sample_metadata.c["sample_id", "name", "value"])
        rows = connection.execute(query.where(sample_metadata.c.sample_id.in_(keys)))
        for sample_id, name, value in rows.tuples():
            values.setdefault(sample_id, {})[name] = value
    return values


def slice_columns(connection: Connection, sample_ids: Sequence[str]) -> dict[str, list[str | None]]:
    """For each column, given or derived, the value of each sample; None where it is in no slice.

    It is in none where nothing is known, and where its value is none of the most frequent.
    """
    given = metadata_of(connection, sample_ids)
    derived = _derived(connection, sample_ids)
    names = [*DERIVED, *sorted({name for values in given.values() for name in values})]
    columns = {
        name: [derived[one].get(name) or given.get(one, {}).get(name) for one in sample_ids]
        for name in names
    }
    return {name: _frequent(values) for name, values in columns.items()}


def count_slices(connection: Connection) -> list[SliceCounts]:
    """The most frequent values of each column that something was given for."""
    each, in_force = sample_metadata.c, labels.c.replaced_at.is_(None)
    query = (
        select(each.name, each.value, func.count(), func.count(labels.c.seq),
               func.count(audit.c.sample_id).filter(labels.c.seq.is_not(None)))
        .join_from(sample_metadata, labels, (labels.c.sample_id == each.sample_id) & in_force,
                   isouter=True)
        .join(audit, audit.c.sample_id == each.sample_id, isouter=True)
        .group_by(each.name, each.value)
        .order_by(each.name, func.count().desc(), each.value)
    )  # fmt: skip
    counts: dict[str, list[SliceCounts]] = {}
    for row in connection.execute(query).tuples():
        counts.setdefault(row[0], []).append(SliceCounts(*row))
    return [one for rows in counts.values() for one in rows[:MOST_SLICES]]


def _derived(connection: Connection, sample_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Origin, month and folder; what was served came from no folder."""
    values = {
        name: {"month": month} for name, month in months_added(connection, sample_ids).items()
    }
    for keys in chunks(sample_ids):
        origins = select(*samples.c["sample_id", "origin"]).where(samples.c.sample_id.in_(keys))
        for name, origin in connection.execute(origins).tuples():
            values[name]["origin"] = origin
        first = select(sources.c.sample_id, func.min(sources.c.path))
        first = first.where(sources.c.sample_id.in_(keys)).group_by(sources.c.sample_id)
        for name, path in connection.execute(first).tuples():
            if values[name]["origin"] != Origin.SERVED:
                values[name]["folder"] = path.rpartition("/")[0]
    return values


def _frequent(values: Sequence[str | None]) -> list[str | None]:
    """The values, None in place of those that are not among the most frequent."""
    counts = Counter(value for value in values if value is not None)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_SLICES]
    return [value if value in ranked else None for value in values]
