"""New files and served images become samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from core.database import writing
from core.text import printable
from labeling.ingest.intake import Intake, adopt, ingest
from labeling.ledger.watermarks import ADOPTED, save_watermark, watermark_of
from models.serving import prediction_store
from tasks.context import open_context
from tasks.report.artifacts import progress
from tasks.report.refusals import by_reason, refused_lines
from tasks.retries import is_transient_error

if TYPE_CHECKING:
    import pandas as pd


@task(
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=is_transient_error,
    timeout_seconds=6 * 3600,
)
def ingest_files(folders: list[str], processes: int) -> int:
    """Ingest every image below `folders`; return how many samples were added.

    Idempotent: a file ingested before is skipped, a retry goes on where it stopped.
    """
    ctx = open_context()
    show = progress(f"Ingest of {', '.join(folders)}")
    counts = ingest(
        ctx.engine,
        ctx.workspace,
        [Path(folder) for folder in folders],
        processes=processes,
        on_progress=show,
        audit=ctx.policies.audit,
    )
    show(1, 1)
    print_intake(counts, ", ".join(folders))
    return counts.added


@task(retries=2, retry_delay_seconds=[5, 30], retry_condition_fn=is_transient_error)
def adopt_traffic() -> int:
    """Make samples of the images that were served since the last time; return how many are new.

    Idempotent: an image is known by its bytes, and the watermark moves after its samples exist.
    """
    ctx = open_context()
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    added = 0
    while True:
        with ctx.engine.connect() as connection:
            start = int(watermark_of(connection, ADOPTED) or 0)
        rows = prediction_store.window(ctx.engine, after_seq=start, limit=1000)
        if rows.empty:
            return added
        images = _served_images(ctx.workspace.traffic, rows)
        counts = adopt(ctx.engine, ctx.workspace, images, audit=ctx.policies.audit)
        print_intake(counts, "served traffic")
        added += counts.added
        with writing(ctx.engine) as connection:
            save_watermark(connection, ADOPTED, str(rows["seq"].max()))


def _served_images(traffic: Path, rows: "pd.DataFrame") -> Iterator[tuple[str, bytes]]:
    """The images of predictions; one whose segment is damaged or away holds up no other."""
    for row in rows.itertuples():
        try:
            image = prediction_store.read_served_image(traffic, row)
        except (OSError, ValueError) as error:  # `hone fsck` goes on naming it
            print(f"the image of prediction {row.prediction_id} is left out: {error}")
        else:
            yield str(row.prediction_id), image


def print_intake(counts: Intake, where: str) -> None:
    """Print what became of the files in a line, and the refused ones where these are few."""
    refused = by_reason(counts.refused)
    total = f"{where}: {counts.added} added, {counts.known} known, refused: {refused or 'none'}"
    for line in (total, *refused_lines(counts.refused, counts.refused_files)):
        print(printable(line))
