"""A day of served traffic, checked every hour: `python benchmarks/watch_day.py [--images 5000]`.

Each hour's predictions are appended to the service's spool, spread over that hour; then the steps
of the flow `watch` drain and check them. Printed are, by hour, what a drain and a check take, the
rows that no check has looked at afterwards, the age of the oldest before it, the peak of memory.
"""

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.serving.prediction_store import HALF
from models.serving.segments import SegmentWriter, Served
from models.serving.traffic_window import new_traffic
from models.watching.decisions import load_state
from models.watching.signals import WatchPolicy
from settings import Settings
from tasks.context import Context
from tasks.watch.check import check_window, drain_traffic
from tests.models.saved_models import CLASSES, make_workspace
from tests.tasks.watch.traffic import release_model, rows_like

AT_ONCE = 500
IMAGE = bytes(1024)  # what the spool stores of each; a check reads none


def main() -> None:
    """Play the day."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=5000, help="an hour")
    parser.add_argument("--hours", type=int, default=24)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hone-day-") as folder:
        workspace, engine = make_workspace(Path(folder) / "work")
        os.environ["HONE_WORKSPACE"] = str(workspace.root)
        ctx = Context(Settings(), workspace, engine)
        model = release_model(ctx, seed=0)
        play(ctx, model, given.hours, given.images)


def play(ctx: Context, model: str, hours: int, images: int) -> list[int]:
    """Serve and check each hour; the rows that no check looked at after each."""
    writer, left = SegmentWriter(ctx.workspace.traffic), list[int]()
    for hour in range(hours):
        serve(writer, model, hour, images)
        clock, processor = time.monotonic(), time.process_time()
        drain_traffic.fn()
        drained = time.monotonic() - clock
        oldest = unseen(ctx, model)[1]
        check_window.fn(WatchPolicy())
        took, processor = time.monotonic() - clock, time.process_time() - processor
        rows, _ = unseen(ctx, model)
        left.append(rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"hour {hour + 1}: drain {drained:.1f} s, with check {took:.1f} s ({processor:.1f} s "
            f"of processor), {rows} rows not looked at, the oldest had waited {oldest:.3f} h, "
            f"peak {peak} MiB",
            flush=True,
        )
    writer.close()
    return left


def serve(writer: SegmentWriter, model: str, hour: int, images: int) -> None:
    """An hour's predictions, the last one now."""
    began = datetime.now(UTC) - timedelta(hours=1)
    made = rows_like(images, 0.0, seed=hour)
    records = []
    for number, (output, embedding) in enumerate(zip(made.outputs, made.embeddings, strict=True)):
        name = hashlib.sha256(f"{hour} {number}".encode()).hexdigest()
        at = began + timedelta(hours=(number + 1) / images)
        records.append((
            Served(
                prediction_id=name[:32], request_id=name[:16], model=model, sample_id=name,
                label=CLASSES[int(output.argmax())], confidence=float(output.max()),
                probabilities=np.round(output, 6).tolist(), needs_review=False,
                served_at=at.isoformat(timespec="microseconds"),
                embedding=embedding.astype(HALF).tobytes(),
            ),
            IMAGE,
        ))  # fmt: skip
    for start in range(0, images, AT_ONCE):
        writer.append(records[start : start + AT_ONCE])


def unseen(ctx: Context, model: str) -> tuple[int, float]:
    """The drained rows that no check looked at, and the hours that the oldest has waited."""
    with ctx.engine.connect() as connection:
        new = new_traffic(connection, model, load_state(connection, model).last_seq)
    if new.oldest_at is None:
        return new.rows, 0.0
    waited = datetime.now(UTC) - datetime.fromisoformat(new.oldest_at)
    return new.rows, waited.total_seconds() / 3600


if __name__ == "__main__":
    main()
