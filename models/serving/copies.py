"""Records of a prediction beside its first one: where the bytes of its image lie once more.

A retry that another worker answers, and a segment that a person copied, record a prediction again.
Its row in `predictions` has the first place; whoever erases the image needs all of them.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import BigInteger, Column, Connection, Table, Text, select

from core import journal
from core.database import metadata
from core.rows import chunks
from models.serving.segment_reader import Record

copies = Table(
    "prediction_copies",
    metadata,
    Column("segment", Text, primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("length", BigInteger, nullable=False),
    Column("prediction_id", Text, nullable=False, index=True),
    info=journal.COVERED,
)


def record_copies(
    connection: Connection, records: Iterable[Record], first: Mapping[str, tuple[str, int]]
) -> None:
    """Record those of these records that are not in the first place of their prediction."""
    further = {
        (record.segment, record.offset): record
        for record in records
        if first[record.fields["prediction_id"]] != (record.segment, record.offset)
    }
    columns = copies.c["segment", "offset"]
    for part in chunks(sorted({one.fields["prediction_id"] for one in further.values()})):
        query = select(*columns).where(copies.c.prediction_id.in_(part))
        for place in connection.execute(query).tuples():
            further.pop(place, None)
    rows = [
        {
            "segment": one.segment, "offset": one.offset, "length": one.length,
            "prediction_id": one.fields["prediction_id"],
        }
        for one in further.values()
    ]  # fmt: skip
    journal.insert(connection, copies, rows)
