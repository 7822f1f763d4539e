"""New files and served images become samples."""

from pathlib import Path

from prefect import task
from sqlalchemy import Connection

from core.database import writing
from core.locks import fence, only_writer
from core.text import printable
from labeling.formats.image_lookup import Absent, ingested_images
from labeling.formats.metadata_table import match_metadata, read_metadata
from labeling.ingest.intake import ingest
from labeling.ledger.answers import known_samples
from labeling.ledger.metadata import save_metadata
from labeling.ledger.watermarks import ADOPTED, save_watermark, watermark_of
from models.serving import prediction_store
from tasks.context import open_context
from tasks.intake import adopt_served, print_intake, served_images
from tasks.report.artifacts import progress
from tasks.report.refusals import metadata_lines
from tasks.retention import decide_retained, retained_rows
from tasks.retries import is_transient_error


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
def record_metadata(path: str, folders: list[str]) -> int:
    """Record what a table says of the images below `folders`; return how many values are new.

    Idempotent: a value that is known is not written again, one that differs replaces it.
    """
    ctx = open_context()
    file = read_metadata(Path(path))
    with only_writer(ctx.engine, "intake") as token, writing(ctx.engine) as connection:
        fence(connection, token)
        ours = set(known_samples(connection, sorted({row.sample_id for row in file.rows})))
        names = [row.image for row in file.rows if row.image and row.sample_id not in ours]
        matched = match_metadata(file, _images_below(connection, names, folders), ours)
        counts = save_metadata(connection, matched.values)
    print(printable("\n".join(metadata_lines(file, matched, counts))))
    return counts.new + counts.changed


def _images_below(
    connection: Connection, names: list[str], folders: list[str]
) -> dict[str, str | Absent]:
    """The sample of each name, in the first of the folders that has it."""
    places: dict[str, str | Absent] = {}
    for folder in dict.fromkeys(one if one.is_dir() else one.parent for one in map(Path, folders)):
        left = [name for name in names if not isinstance(places.get(name), str)]
        places = {**ingested_images(connection, left, folder), **_samples_in(places)}
    return places


def _samples_in(places: dict[str, str | Absent]) -> dict[str, str | Absent]:
    return {name: place for name, place in places.items() if isinstance(place, str)}


@task(retries=2, retry_delay_seconds=[5, 30], retry_condition_fn=is_transient_error)
def adopt_traffic() -> int:
    """Make samples of the images that were served since the last time; return how many are new.

    Idempotent: an image is known by its bytes, and the watermark moves after its samples exist.
    """
    ctx = open_context()
    prediction_store.drain(ctx.engine, ctx.workspace.traffic)
    decided = decide_retained(ctx)
    added = 0
    while True:
        with ctx.engine.connect() as connection:
            start = int(watermark_of(connection, ADOPTED) or 0)
        rows = prediction_store.window(ctx.engine, after_seq=start, limit=1000)
        rows = rows[rows["seq"] <= decided]
        if rows.empty:
            return added
        images = served_images(ctx.workspace.traffic, retained_rows(ctx, rows).itertuples())
        counts = adopt_served(ctx, images)
        print_intake(counts, "served traffic")
        added += counts.added
        with writing(ctx.engine) as connection:
            save_watermark(connection, ADOPTED, str(rows["seq"].max()))
