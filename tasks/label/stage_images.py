"""Staged images: plain images of the open rounds, the one place that Label Studio may read."""

from collections import defaultdict
from typing import Any

import pandas as pd

from core.bucket import BucketImageStore
from core.files import write_atomically
from core.shards import read_image
from labeling.ledger import rounds
from labeling.ledger.examples import most_trusted_samples
from labeling.ledger.tables import location_of
from labeling.studio.project import IMAGES
from tasks.context import Context

EXAMPLE_IMAGES = f"{IMAGES}/examples"  # of the instructions
EXAMPLES = 2  # of each class
ENDINGS = {"JPEG": "jpg", "PNG": "png"}


def stage_images(ctx: Context, places: pd.DataFrame) -> dict[str, str]:
    """Stage the images at these IMAGE_PLACES; return what Label Studio calls each. Idempotent.

    That is the path below its document root, or an address in the object store.
    """
    rows = list(places.itertuples())
    if ctx.image_bucket is not None:
        return _stage_in_bucket(ctx, ctx.image_bucket, rows)
    return {str(row.sample_id): _stage_file(ctx, row, IMAGES) for row in rows}


def stage_examples(ctx: Context) -> dict[str, list[str]]:
    """Images for the instructions: of each class the surest two, below the document root.

    They stay as long as their labels do, or the instructions would change with every round. From
    an object store there are none: instructions outlive every address that expires.
    """
    if ctx.image_bucket is not None:
        return {}
    with ctx.engine.connect() as connection:
        surest = most_trusted_samples(connection, each=EXAMPLES)
    files: dict[str, list[str]] = defaultdict(list)
    for row in surest.itertuples():
        files[str(row.label)].append(_stage_file(ctx, row, EXAMPLE_IMAGES))
    return dict(files)


def unstage_images(ctx: Context) -> int:
    """Take away the images of rounds that are closed; return how many. Idempotent."""
    with ctx.engine.connect() as connection:
        needed = rounds.samples_of_open_rounds(connection)
    folder = ctx.workspace.staged / IMAGES
    spare = [path for path in folder.glob("*.*") if _sample(path.name) not in needed]
    for path in spare:
        path.unlink(missing_ok=True)
    if ctx.image_bucket is None:
        return len(spare)
    objects = [name for name in ctx.image_bucket.names() if _sample(name) not in needed]
    ctx.image_bucket.remove(objects)
    return len(spare) + len(objects)


def _stage_file(ctx: Context, row: Any, folder: str) -> str:
    path = ctx.workspace.staged / folder / _name(row)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, read_image(ctx.workspace.shards, location_of(row)))
    root = (ctx.settings.label_studio_document_root or ctx.workspace.staged).resolve()
    if not path.is_relative_to(root):
        raise ValueError(
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is {root}, and {ctx.workspace.staged} is not "
            "below it, so Label Studio could not show its images; set it to that folder, or "
            "one above"
        )
    return str(path.relative_to(root))


def _stage_in_bucket(ctx: Context, bucket: BucketImageStore, rows: list[Any]) -> dict[str, str]:
    stored = bucket.names()
    rows_by_name = {_name(row): row for row in rows}
    missing = [name for name in rows_by_name if name not in stored]
    for start in range(0, len(missing), 100):  # so many in memory
        names = missing[start : start + 100]
        shards = ctx.workspace.shards
        bucket.put({name: read_image(shards, location_of(rows_by_name[name])) for name in names})
    return {str(row.sample_id): bucket.address(name) for name, row in rows_by_name.items()}


def _name(row: Any) -> str:
    return f"{row.sample_id}.{ENDINGS[row.format]}"


def _sample(name: str) -> str:
    return name.removeprefix(".").partition(".")[0]  # a killed write leaves a hidden part
