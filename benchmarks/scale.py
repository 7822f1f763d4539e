"""What does a step cost when 100 things are new, beside a small and a large ledger?

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--sizes 2000 20000 200000] [--rounds 3]

Each size is a workspace of its own with that many labelled samples (synthetic rows; the images of
the new ones are real). A step is run with 100 things that are new: 100 files for ingest, 100
answers for collect (recorded, settled), a pool of 100 for choose (scores cached), 100 changed
labels for the snapshot, nothing for status. The table has processor seconds, the least of the
rounds, and the ratio of the largest size to the smallest: what it would be if cost followed what is
there is the ratio of the sizes.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sqlalchemy import Engine, insert

from core.database import connect, now, upgrade, writing
from core.locks import only_writer
from core.rows import chunks
from core.workspace import Workspace, init_workspace
from labeling.batches.candidates import candidates_of
from labeling.batches.select import SelectionConfig, select_batch
from labeling.consensus.settle import SettlePolicy
from labeling.consensus.settle_labels import settle_labels
from labeling.ingest.intake import ingest
from labeling.ledger import rounds as ledger_rounds
from labeling.ledger.answers import record_answers
from labeling.ledger.tables import assignments, rounds, samples
from labeling.snapshots.split import SnapshotConfig
from labeling.snapshots.table import build_table
from labeling.strategies import Pool
from tasks.operate.status import status_of

CLASSES = ["cat", "dog", "newt"]
NEW = 100


def make_workspace(root: Path, size: int) -> tuple[Workspace, Engine]:
    """A workspace with `size` samples, each answered once and settled, in rounds of 500."""
    workspace = init_workspace(root, CLASSES, image_size=32)
    engine = connect(workspace.database)
    upgrade(engine)
    rng = np.random.default_rng(size)
    names = [f"{number:064x}" for number in range(size)]
    with writing(engine) as connection:
        for number, part in enumerate(chunks(names, 500), start=1):
            round_id = ledger_rounds.round_name(number)
            about = {"strategy": "margin", "seed": 0, "config": {}, "why": "", "chosen_at": now()}
            times = {"sent_at": now(), "closed_at": now()}
            connection.execute(
                insert(rounds).values(round_id=round_id, number=number, **about, **times)
            )
            connection.execute(insert(samples), [_sample(name, rng) for name in part])
            connection.execute(
                insert(assignments),
                [
                    {"round_id": round_id, "sample_id": name, "position": place, "reason": "margin",
                     "sent_at": now(), "closed_at": now(), "outcome": "labelled"}
                    for place, name in enumerate(part)
                ],
            )  # fmt: skip
    answer(engine, names, rng)
    settle(engine)
    return workspace, engine


def _sample(name: str, rng: np.random.Generator) -> dict[str, object]:
    return {
        "sample_id": name, "shard": "0.tar", "offset": 0, "length": 1, "stored_sha256": name,
        "format": "PNG", "width": 32, "height": 32, "thumbnail": rng.bytes(256), "group_id": name,
        "origin": "ingest", "added_at": now(),
    }  # fmt: skip


def answer(engine: Engine, names: list[str], rng: np.random.Generator) -> None:
    """One answer to each of these samples, by one of three annotators."""
    rows = pd.DataFrame(
        {
            "source": "scale",
            "external_id": [f"{name}:{rng.integers(1 << 40)}" for name in names],
            "sample_id": names,
            "annotator": rng.choice(["ann", "ben", "cleo"], len(names)),
            "kind": "answer",
            "value": rng.choice(CLASSES, len(names)),
            "lead_time": None,
            "updated_at": now(),
            "round_id": "round-0001",
        }
    )
    with only_writer(engine, "answers") as token:
        for start in range(0, len(rows), 5_000):
            part = rows.iloc[start : start + 5_000]
            record_answers(engine, token, part, source="scale", read=(), classes=CLASSES)


def settle(engine: Engine) -> None:
    """Settle labels from the answers."""
    with only_writer(engine, "answers") as token:
        settle_labels(engine, token, SettlePolicy(), CLASSES)


def new_files(folder: Path, rng: np.random.Generator) -> Path:
    """A folder of new image files."""
    folder.mkdir()
    for number in range(NEW):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    return folder


def choose(engine: Engine) -> None:
    """A batch of 50 from the pool, whose predictions are at hand."""
    with engine.connect() as connection:
        pool = ledger_rounds.load_pool(connection)
    rng = np.random.default_rng(0)
    predictions = Pool(
        probs=rng.dirichlet(np.ones(3), len(pool)), embeddings=rng.normal(size=(len(pool), 64))
    )
    select_batch(candidates_of(pool), predictions, SelectionConfig(), rng, classes=CLASSES)


def measured(step: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    start = time.process_time()
    step()
    return time.process_time() - start


def one_round(workspace: Workspace, engine: Engine, number: int, size: int) -> dict[str, float]:
    """Processor seconds of each step with 100 new things."""
    rng = np.random.default_rng([size, number])
    folder = new_files(workspace.root.parent / f"new-{size}-{number}", rng)
    asked = [f"{row:064x}" for row in rng.choice(size, NEW, replace=False)]

    def collect() -> None:
        answer(engine, asked, rng)
        settle(engine)

    return {
        "ingest": measured(lambda: ingest(engine, workspace, [folder], processes=1)),
        "choose": measured(lambda: choose(engine)),
        "collect": measured(collect),
        "collect, nothing new": measured(lambda: settle(engine)),
        "snapshot table": measured(lambda: build_table(engine, SnapshotConfig())),
        "status": measured(lambda: status_of(engine, audit_needed=50)),
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        for size in given.sizes:
            workspace, engine = make_workspace(Path(home) / str(size), size)
            one_round(workspace, engine, 0, size)  # imports and caches
            runs = [
                one_round(workspace, engine, number, size) for number in range(1, given.rounds + 1)
            ]
            table[f"{size:,}"] = {step: min(run[step] for run in runs) for step in runs[0]}
            engine.dispose()
    shown = pd.DataFrame(table)
    shown["ratio"] = shown.iloc[:, -1] / shown.iloc[:, 0]
    print(shown.round(3).to_string())


if __name__ == "__main__":
    main()
