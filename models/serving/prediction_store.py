"""Served predictions, each linked to its image and, later, to its outcome.

The service appends to a segment on its own disk, fsynced, before it answers; `drain` copies
segments into the database. Records are identified by `prediction_id`, so draining is idempotent.
"""

import base64
import hashlib
import heapq
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    func,
    select,
)

from core import journal
from core.database import Json, metadata, writing
from core.locks import Token, fence, only_writer
from core.rows import chunks
from models.serving.copies import record_copies
from models.serving.segment_reader import FIELDS, PACKED, Damage, Record, read_records, scan
from models.serving.segments import DIGITS, HALF, remove_if_abandoned

if TYPE_CHECKING:
    import pandas as pd

    from models.scoring.predict import Predictions

CHUNK = 2_000  # records in one transaction of `drain`
COMPARED = 500  # records compared with the database at once: each database takes so many keys
OPEN_SEGMENTS = 64  # merged, so that records of several processes are drained in order of time

segments = Table(
    "segments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("drained_to", BigInteger, nullable=False),
    info=journal.COVERED,
)

predictions = Table(
    "predictions",
    metadata,
    Column("prediction_id", Text, primary_key=True),
    Column(
        "seq", Integer, nullable=False, unique=True
    ),  # order of draining; windows are ranges of it
    Column("request_id", Text, nullable=False, index=True),
    Column("model", Text, nullable=False),
    Column("sample_id", Text, nullable=False, index=True),  # SHA-256 of the bytes received
    Column("segment", Text, nullable=False),  # file that holds the bytes received
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("label", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("probabilities", Json, nullable=False),  # in the order of the model's classes
    Column("needs_review", Boolean, nullable=False),
    Column("served_at", Text, nullable=False),
    Column("embedding", LargeBinary),  # float16; None where the service recorded none
    Column("statistics", LargeBinary),  # of the image, float16 in the order of STATISTICS
    Column("source", Text),  # the camera or site, as the client named it
    Column("erased", Integer),  # the erasure (models.serving.erasures) that took the image
    info=journal.COVERED,
)


def drain(engine: Engine, folder: Path) -> int:
    """Copy what was appended since the last time into the database; return how many records.

    Idempotent, and safe to call from many processes: records and the place up to which they were
    read are stored in one transaction, under a lock. Damaged records are printed and passed over.
    """
    progress = _progress(engine, folder)
    for path, size, done in progress:
        if not size and not done:
            remove_if_abandoned(path)
    if not any(size > done for _, size, done in progress):
        return 0
    added = 0
    with only_writer(engine, "drain") as token:
        starts = [(path, done) for path, size, done in _progress(engine, folder) if size > done]
        for first in range(0, len(starts), OPEN_SEGMENTS):
            readers = [_readable(*place) for place in starts[first : first + OPEN_SEGMENTS]]
            records = heapq.merge(*readers, key=lambda record: record.fields["served_at"])
            while chunk := list(islice(records, CHUNK)):
                added += _store(engine, token, chunk)
    return added


def count_predictions(connection: Connection) -> int:
    """How many predictions were drained; they are numbered without a gap."""
    return connection.scalar(select(func.max(predictions.c.seq))) or 0


def undrained_segments(engine: Engine, folder: Path) -> int:
    """How many segments have whole records that were not copied into the database yet."""
    behind = [(path, done) for path, size, done in _progress(engine, folder) if size > done]
    return sum(any(isinstance(part, Record) for part in scan(path, done)) for path, done in behind)


def traffic_bytes(engine: Engine, folder: Path) -> tuple[int, int]:
    """The bytes of all segments, and those of them that were not copied into the database yet."""
    sizes = [(size, max(size - done, 0)) for _, size, done in _progress(engine, folder)]
    return sum(size for size, _ in sizes), sum(waiting for _, waiting in sizes)


def predictions_unlike_records(
    engine: Engine, folder: Path
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Predictions that are other than in their segment: id, what differs, the row as served.

    The row is empty for one that no record of its segment is of.
    """
    with engine.connect() as connection:
        names = connection.scalars(select(predictions.c.segment).distinct()).all()
        for path in (folder / name for name in names if (folder / name).is_file()):
            ids: set[str] = set()
            records = iter(read_records(path))
            while part := list(islice(records, COMPARED)):
                ids |= {record.fields["prediction_id"] for record in part}
                yield from _unlike(connection, part)
            mine = select(predictions.c.prediction_id).where(predictions.c.segment == path.name)
            for prediction_id in connection.scalars(mine.execution_options(yield_per=COMPARED)):
                if prediction_id not in ids:
                    yield prediction_id, "is in no record of its segment", {}


def _unlike(
    connection: Connection, part: list[Record]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    served = {str(record.fields["prediction_id"]): _row(record, 0) for record in part}
    stored = select(predictions).where(predictions.c.prediction_id.in_(list(served)))
    for row in connection.execute(stored).mappings():
        wanted = {**served[row["prediction_id"]], "seq": row["seq"]}
        other = [name for name, value in wanted.items() if row[name] != value]
        if other and row["segment"] == wanted["segment"]:
            first = other[0]
            what = f"{first} is {str(row[first])[:60]}, served was {str(wanted[first])[:60]}"
            yield row["prediction_id"], what, wanted


def restore_predictions(engine: Engine, folder: Path) -> int:
    """Give predictions that were changed the values that their segment has; return how many."""
    changed = [row for _, _, row in predictions_unlike_records(engine, folder) if row]
    with only_writer(engine, "drain") as token, writing(engine) as connection:
        fence(connection, token)
        journal.update_rows(connection, predictions, changed)
    return len(changed)


@dataclass(frozen=True)
class SegmentState:
    """What a segment holds beside what the database has of it."""

    name: str
    damage: list[Damage]
    waiting: int  # whole records that are not drained yet
    waits_since: str | None  # when the oldest of them was served
    lost: int  # records that count as drained and are not stored
    beyond: int  # bytes by which `drained_to` lies behind the end of the file


def segment_states(engine: Engine, folder: Path) -> Iterator[SegmentState]:
    """The state of each segment, by reading all of it but the images."""
    for path, size, done in _progress(engine, folder):
        damage: list[Damage] = []
        waiting: list[str] = []
        drained: set[str] = set()  # a retry may have recorded a prediction twice
        for part in scan(path):
            if isinstance(part, Damage):
                damage.append(part)
            elif part.end <= done:
                drained.add(str(part.fields["prediction_id"]))
            else:
                waiting.append(str(part.fields["served_at"]))
        yield SegmentState(
            path.name,
            damage,
            len(waiting),
            min(waiting, default=None),
            len(drained) - _count_stored(engine, sorted(drained)),
            max(done - size, 0),
        )


def drain_again(engine: Engine, folder: Path) -> int:
    """Drain from their beginning the segments that count as drained too far; return new records."""
    ahead = [one.name for one in segment_states(engine, folder) if one.lost or one.beyond]
    with only_writer(engine, "drain") as token, writing(engine) as connection:
        fence(connection, token)
        for name in ahead:
            _note_progress(connection, name, 0)
    return drain(engine, folder) if ahead else 0


def _count_stored(engine: Engine, prediction_ids: Sequence[str]) -> int:
    stored = 0
    with engine.connect() as connection:
        for start in range(0, len(prediction_ids), CHUNK):
            part = set(prediction_ids[start : start + CHUNK])
            query = select(func.count()).select_from(predictions)
            stored += connection.scalar(query.where(predictions.c.prediction_id.in_(part))) or 0
    return stored


def _readable(path: Path, start: int) -> Iterator[Record]:
    for part in scan(path, start):
        if isinstance(part, Record):
            yield part
        else:
            print(f"{part}; the rest is taken. `hone fsck` names it until it is restored")


def read_served_image(folder: Path, row: Any) -> bytes:
    """The bytes a prediction was made from, as received, checked against their SHA-256."""
    if Path(row.segment).name != row.segment:
        raise ValueError(
            f"segment {row.segment!r} is no file name; the prediction store was changed"
        )
    path = folder / row.segment
    with path.open("rb") as file:
        file.seek(row.offset)
        content = file.read(row.length)
    digest = hashlib.sha256(content).hexdigest()
    if digest != row.sample_id:
        if not content.strip(b"\0"):
            raise ValueError(
                f"{path} at {row.offset}: the image was erased, its record alone is left"
            )
        raise ValueError(
            f"{path} at {row.offset}: SHA-256 {digest[:12]}, {row.sample_id[:12]} was served; the "
            "segment was changed or damaged, restore it from a backup"
        )
    return content


def window(
    engine: Engine, model: str | None = None, *, after_seq: int = 0, limit: int = 1_000
) -> "pd.DataFrame":
    """The next `limit` predictions after `after_seq`, of one model or of all, in order of `seq`.

    The column `probabilities` holds lists, in the order of the model's classes.
    """
    import pandas as pd

    chosen = select(predictions).where(predictions.c.seq > after_seq)
    if model is not None:
        chosen = chosen.where(predictions.c.model == model)
    with engine.connect() as connection:
        rows = connection.execute(chosen.order_by(predictions.c.seq).limit(limit)).all()
    return pd.DataFrame(rows, columns=[column.name for column in predictions.c])


def recorded_predictions(
    rows: "pd.DataFrame", *, outputs: int, width: int
) -> "tuple[np.ndarray, Predictions]":
    """A mask of the rows recorded with an embedding of `width`, and their predictions.

    The rows are those of `window` or of `predictions_of`, all of one model.
    """
    from models.scoring.predict import Predictions

    size = width * HALF.itemsize
    has = np.array([isinstance(one, bytes) and len(one) == size for one in rows["embedding"]], bool)
    recorded = rows[has]
    numbers = np.array(recorded["probabilities"].tolist(), np.float32).reshape(-1, outputs)
    packed = np.frombuffer(b"".join(recorded["embedding"]), HALF).reshape(-1, width)
    return has, Predictions(numbers, packed.astype(np.float32))


def as_recorded(predictions: "Predictions") -> "Predictions":
    """Predictions rounded like recorded ones, so that the two can be compared."""
    return replace(
        predictions,
        outputs=predictions.outputs.round(DIGITS),
        embeddings=predictions.embeddings.astype(HALF).astype(np.float32),
    )


def predictions_of(engine: Engine, model: str, sample_ids: Sequence[str]) -> "pd.DataFrame":
    """The predictions that `model` served for these samples with an embedding, one row a sample.

    Columns: sample_id, probabilities (a list), embedding (bytes).
    """
    import pandas as pd

    columns = predictions.c.sample_id, predictions.c.probabilities, predictions.c.embedding
    query = select(*columns).where(
        predictions.c.model == model, predictions.c.embedding.is_not(None)
    )
    rows: list[Row[Any]] = []
    with engine.connect() as connection:
        for start in range(0, len(sample_ids), CHUNK):
            part = list(sample_ids[start : start + CHUNK])
            rows += connection.execute(query.where(predictions.c.sample_id.in_(part))).all()
    table = pd.DataFrame(rows, columns=[column.name for column in columns])
    return table.drop_duplicates("sample_id", ignore_index=True)


def find_prediction(engine: Engine, prediction_id: str) -> Row[Any] | None:
    """One prediction by its id; None when it was not served here or is not drained yet."""
    with engine.connect() as connection:
        return connection.execute(
            select(predictions).where(predictions.c.prediction_id == prediction_id)
        ).first()


def first_prediction(engine: Engine, sample_ids: Sequence[str]) -> str | None:
    """The first prediction of any of these samples; None when none was served."""
    query = select(predictions.c.prediction_id).order_by(predictions.c.seq).limit(1)
    with engine.connect() as connection:
        return connection.scalar(query.where(predictions.c.sample_id.in_(list(sample_ids))))


def answered_samples(connection: Connection, model: str, sample_ids: Sequence[str]) -> set[str]:
    """Those of these samples that the model answered in service."""
    mine = select(predictions.c.sample_id).where(predictions.c.model == model)
    return {
        name
        for keys in chunks(sample_ids)
        for name in connection.scalars(mine.where(predictions.c.sample_id.in_(keys)))
    }


def _progress(engine: Engine, folder: Path) -> list[tuple[Path, int, int]]:
    """Every segment with its size and the offset up to which it was drained."""
    with engine.connect() as connection:
        done = {row.name: row.drained_to for row in connection.execute(select(segments))}
    sizes = {}
    for path in folder.glob("*.seg"):
        with suppress(FileNotFoundError):  # another drain removed it: it was empty
            if stat.S_ISREG((about := path.stat()).st_mode):
                sizes[path] = about.st_size
    return [(path, sizes[path], done.get(path.name, 0)) for path in sorted(sizes)]


def _store(engine: Engine, token: Token, chunk: list[Record]) -> int:
    """Add the records that are new, and record the offset up to which each segment was read."""
    by_id: dict[str, Record] = {}
    for record in chunk:
        by_id.setdefault(record.fields["prediction_id"], record)
    with writing(engine) as connection:
        fence(connection, token)
        columns = predictions.c["prediction_id", "segment", "offset"]
        stored = select(*columns).where(predictions.c.prediction_id.in_(list(by_id)))
        known = {row.prediction_id: (row.segment, row.offset) for row in connection.execute(stored)}
        last = connection.scalar(select(func.max(predictions.c.seq))) or 0
        new = [record for name, record in by_id.items() if name not in known]
        rows = [_row(record, seq) for seq, record in enumerate(new, start=last + 1)]
        journal.insert(connection, predictions, rows)
        added = {row["prediction_id"]: (row["segment"], row["offset"]) for row in rows}
        record_copies(connection, chunk, {**known, **added})
        for name, end in {record.segment: record.end for record in chunk}.items():
            _note_progress(connection, name, end)
    return len(rows)


def _row(record: Record, seq: int) -> dict[str, Any]:
    packed = {name: record.fields.get(name) for name in PACKED}
    return {
        **{name: record.fields[name] for name in FIELDS},
        **{name: base64.b64decode(text) if text else None for name, text in packed.items()},
        "source": record.fields.get("source"),
        "seq": seq,
        "segment": record.segment,
        "offset": record.offset,
        "length": record.length,
    }


def _note_progress(connection: Connection, name: str, end: int) -> None:
    if not journal.update(connection, segments, segments.c.name == name, drained_to=end):
        journal.insert(connection, segments, [{"name": name, "drained_to": end}])
