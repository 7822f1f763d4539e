"""What does the journal cost a collect of 10,000 answers, and how large is it?

    OMP_NUM_THREADS=1 python benchmarks/journal.py [--answers 10000] [--rounds 5]

Each round collects that many new answers (recorded, settled, assignments and rounds closed) in a
workspace of their own, once with the journal and once with its functions replaced by the bare
statements, in turns. The table has processor seconds, the least of the rounds; then the journal's
bytes per answer and, from as many served predictions (10 classes, embeddings of 576), per
prediction.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scale import CLASSES, _sample, answer, settle
from sqlalchemy import Connection, Engine, Table, bindparam, delete, func, insert, select, update

from core import journal
from core.database import connect, now, upgrade, writing
from core.rows import chunks
from labeling.ledger.rounds import round_name
from labeling.ledger.tables import assignments, rounds, samples
from models.serving.prediction_store import drain
from models.serving.segments import SegmentWriter, Served, half_precision


def bare_insert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What the collect did before: rows by `executemany`, keys by a query of labels in force."""
    if not rows:
        return []
    connection.execute(insert(table), list(rows))
    if table.name != "labels":
        return []
    made: dict[str, int] = {}
    for keys in chunks(sorted(row["sample_id"] for row in rows)):
        query = select(table).where(table.c.sample_id.in_(keys), table.c.replaced_at.is_(None))
        made |= {row.sample_id: row.seq for row in connection.execute(query)}
    return [{"seq": made[row["sample_id"]]} for row in rows]


def bare_update(connection: Connection, table: Table, *where: Any, **values: Any) -> int:
    """The statement alone."""
    return connection.execute(update(table).where(*where).values(**values)).rowcount


def bare_update_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """The statement alone."""
    if rows:
        keys = [column.name for column in table.primary_key]
        where = [table.c[name] == bindparam(f"of_{name}") for name in keys]
        given = [
            {f"of_{name}" if name in keys else name: value for name, value in row.items()}
            for row in rows
        ]
        connection.execute(update(table).where(*where), given)


def bare_delete(connection: Connection, table: Table, *where: Any) -> int:
    """The statement alone."""
    return connection.execute(delete(table).where(*where)).rowcount


@contextmanager
def without_journal() -> Iterator[None]:
    """The functions of the journal replaced by the bare statements."""
    with patch.multiple(
        journal,
        insert=bare_insert,
        update=bare_update,
        update_rows=bare_update_rows,
        delete=bare_delete,
    ):
        yield


def make_ledger(root: Path, size: int) -> tuple[Engine, list[str]]:
    """A database with `size` samples that are before annotators, in rounds of 500."""
    engine = connect(f"sqlite:///{root / 'hone.sqlite'}")
    upgrade(engine)
    rng = np.random.default_rng(0)
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(size)]
    with writing(engine) as connection:
        for number, part in enumerate(chunks(names, 500), start=1):
            mine = {"round_id": round_name(number)}
            about = {"strategy": "margin", "seed": 0, "config": {}, "why": "", "chosen_at": now()}
            row = {**mine, "number": number, **about, "sent_at": now()}
            journal.insert(connection, rounds, [row])
            journal.insert(connection, samples, [_sample(name, rng) for name in part])
            asked = [
                {**mine, "sample_id": name, "position": place, "reason": "margin",
                 "probs": dict(zip(CLASSES, rng.dirichlet(np.ones(3)).tolist(), strict=True)),
                 "sent_at": now()}
                for place, name in enumerate(part)
            ]  # fmt: skip
            journal.insert(connection, assignments, asked)
    return engine, names


def collect(engine: Engine, names: list[str], seed: int) -> float:
    """Processor seconds of recording one answer to each sample, and settling."""
    rng = np.random.default_rng(seed)
    start = time.process_time()
    answer(engine, names, rng)
    settle(engine)
    return time.process_time() - start


def journal_bytes(engine: Engine) -> int:
    """The bytes of all entries."""
    content = func.sum(func.length(journal.journal.c.content))
    with engine.connect() as connection:
        return int(connection.scalar(select(content)) or 0)


def serve(engine: Engine, folder: Path, count: int) -> None:
    """Store `count` served predictions, with 10 classes and an embedding of 576 numbers."""
    rng = np.random.default_rng(0)
    writer = SegmentWriter(folder)
    for start in range(0, count, 500):
        records = []
        for number in range(start, start + 500):
            probabilities = rng.dirichlet(np.ones(10)).round(6).tolist()
            name = hashlib.sha256(str(number).encode()).hexdigest()
            records.append((
                Served(
                    prediction_id=name[:32], request_id=name[32:], model="hone:0001-a",
                    sample_id=name, label="cat", confidence=max(probabilities),
                    probabilities=probabilities, needs_review=False, served_at=now(),
                    embedding=half_precision(rng.normal(size=576)),
                ),
                b"image",
            ))  # fmt: skip
        writer.append(records)
    writer.close()
    drain(engine, folder)


def prediction_bytes(count: int) -> tuple[float, float]:
    """Bytes of the journal and of the database per served prediction."""
    with tempfile.TemporaryDirectory() as home:
        engine, _ = make_ledger(Path(home), 0)
        before, file = journal_bytes(engine), Path(home) / "hone.sqlite"
        serve(engine, Path(home) / "traffic", count)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        in_journal = journal_bytes(engine) - before
        engine.dispose()
        return in_journal / count, file.stat().st_size / count


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with_it: list[float] = []
    without: list[float] = []
    for seed in range(given.rounds + 1):  # the first fills caches
        for costs in (with_it, without):
            with tempfile.TemporaryDirectory() as home:
                engine, names = make_ledger(Path(home), given.answers)
                before = journal_bytes(engine)
                if costs is with_it:
                    costs.append(collect(engine, names, seed))
                    size = journal_bytes(engine) - before
                else:
                    with without_journal():
                        costs.append(collect(engine, names, seed))
                engine.dispose()
    best, bare = min(with_it[1:]), min(without[1:])
    print(f"with the journal {best:.3f} s, without {bare:.3f} s: {best / bare - 1:+.1%}")
    print(f"bytes per answer, its label and its assignment: {size / given.answers:.0f}")
    in_journal, in_all = prediction_bytes(given.answers)
    print(f"bytes per served prediction: {in_journal:.0f} of {in_all:.0f} in the database")


if __name__ == "__main__":
    main()
