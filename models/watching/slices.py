"""Slices of served images: the source that a client named, the first names of a day by themselves.

Clients name sources as they like. Counts are kept by name for so many a day, and the others
together, so that no client can make rows without end.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, insert, select

from core.rows import chunks
from models.watching.outcome_tables import slice_names

MOST_NAMES = 100  # sources of a day that are counted by name
OTHER = "other"
Place = tuple[str, str]  # a day, and a source as its client named it


def slices_of(connection: Connection, places: Iterable[Place]) -> dict[Place, str]:
    """The slice that each of these is counted in: its name, or OTHER once the day has enough."""
    places = list(places)
    known = _known(connection, {day for day, _ in places})
    slices: dict[Place, str] = {}
    for day, name in places:
        names = known.setdefault(day, set())
        if name and len(names) < MOST_NAMES:
            names.add(name)
        slices[day, name] = name if not name or name in names else OTHER
    return slices


def note_slices(connection: Connection, slices: Collection[Place]) -> None:
    """Record the slices of each day that are counted by name; call it under the lock "feedback"."""
    known = _known(connection, {day for day, _ in slices})
    fresh = sorted((day, name) for day, name in set(slices) if name not in known.get(day, ()))
    rows = [{"day": day, "name": name} for day, name in fresh if name not in ("", OTHER)]
    if rows:
        connection.execute(insert(slice_names), rows)


def _known(connection: Connection, days: Collection[str]) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for keys in chunks(sorted(days)):
        query = select(slice_names).where(slice_names.c.day.in_(keys))
        for row in connection.execute(query):
            known.setdefault(row.day, set()).add(row.name)
    return known
