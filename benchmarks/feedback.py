"""What a large file of truths takes: `python benchmarks/feedback.py [ROWS]`, 1,000,000 by default.

Of every ten truths nine are about predictions that are known. Printed are processor seconds and the
memory beyond what the imports take, for the first import and for the same file again.
"""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.database import connect, upgrade, writing
from core.workspace import init_workspace
from models.serving.prediction_store import predictions
from tasks.feedback import import_feedback

CLASSES = ("cat", "dog", "eel")
AT_ONCE = 5_000


def main() -> None:
    """Import a file of truths twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="hone-feedback-") as folder:
        workspace = init_workspace(Path(folder) / "work", CLASSES)
        os.environ["HONE_WORKSPACE"] = str(workspace.root)
        serve(workspace.database, rows * 9 // 10)
        path = Path(folder) / "truths.csv"
        write(path, rows)
        before = peak_megabytes()
        for which in ("first", "again"):
            began = time.process_time()
            recorded = import_feedback(path).recorded
            seconds, more = time.process_time() - began, peak_megabytes() - before
            print(f"{which}: {recorded}, {seconds:.0f} s of processor, {more} MiB more at the peak")


def serve(database: str, count: int) -> None:
    """Predictions of four weeks, whose images are gone."""
    engine = connect(database)
    upgrade(engine)
    with writing(engine) as connection:
        for start in range(0, count, AT_ONCE):
            part = range(start, min(start + AT_ONCE, count))
            connection.execute(insert(predictions), [served(number) for number in part])
    engine.dispose()


def served(number: int) -> dict[str, object]:
    """One prediction."""
    day, hour = 1 + number % 28, number // 28 % 24
    return {
        "prediction_id": f"{number:032x}", "seq": number + 1, "request_id": f"r{number}",
        "model": "hone:0001-a", "sample_id": f"{number:064x}", "segment": "gone.seg", "offset": 0,
        "length": 1, "label": "cat", "confidence": 0.5, "probabilities": [0.5, 0.3, 0.2],
        "needs_review": False, "served_at": f"2026-01-{day:02d}T{hour:02d}:00:00.000000+00:00",
    }  # fmt: skip


def write(path: Path, rows: int) -> None:
    """A file of weak truths."""
    rng = random.Random(0)
    with path.open("w") as file:
        file.write("prediction_id,truth,who,strength,at\n")
        for number in range(rows):
            truth = rng.choice(CLASSES)
            file.write(f"{number:032x},{truth},user{number % 100},weak,2026-02-01T00:00:00Z\n")


def peak_megabytes() -> int:
    """The most memory that this process had at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
