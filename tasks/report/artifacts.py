"""Artifacts in the Prefect UI: batches with images, verdicts and drift signals."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pandas as pd
from PIL import Image

from core.images import decode_image
from core.shards import read_image
from core.text import counted
from labeling.batches.batch import Batch
from labeling.ledger.tables import location_of
from models.watching.signals import Shift, Signal
from tasks.direct_run import is_direct_run
from tasks.report.console import ShowProgress, markdown_table, screen_progress

# What means something in Markdown or HTML anywhere, and what does where a line begins.
_MARKS = re.compile(r"[\\*_\[\]<>#|~&!]|:(?=//)")
_FIRST = re.compile(r"^(\d*)([-+=.)])(?=[-+=\s]|$)")
IMAGES_SHOWN = 48  # images in one artifact: enough to judge a batch by, small enough for the page


def progress(description: str) -> ShowProgress:
    """Progress in Prefect and on the screen: call it with how much is done, and of how much."""
    on_screen = screen_progress(description)
    update = None if is_direct_run() else _progress_artifact(description)

    def show(done: float, total: float) -> None:
        if on_screen is not None:
            on_screen(done, total)
        if update is not None:
            update(min(100.0 * done / total if total else 100.0, 100.0))

    return show


def _progress_artifact(description: str) -> Callable[[float], None]:
    """Create a progress bar in Prefect; the function that is returned sets its percentage."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    bar = cast(UUID, create_progress_artifact(progress=0.0, description=description))

    def update(percent: float) -> None:
        update_progress_artifact(artifact_id=bar, progress=percent)

    return update


def publish_page(*, key: str, markdown: str, description: str) -> None:
    """Publish a page in Prefect; without Prefect there is no place for it."""
    from prefect.artifacts import create_markdown_artifact

    if not is_direct_run():
        create_markdown_artifact(key=key, markdown=markdown, description=description)


def publish_table(*, key: str, table: list[dict[str, Any]], description: str) -> None:
    """Publish a table in Prefect; without Prefect there is no place for it."""
    from prefect.artifacts import create_table_artifact

    if not is_direct_run():
        create_table_artifact(key=key, table=table, description=description)


def escape_markdown(text: str) -> str:
    """`text` as Markdown that shows it as it is: Prefect reads Markdown and HTML, in tables too."""
    return _FIRST.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", " ".join(text.split())))


def publish_batch_artifact(
    round_id: str, batch: Batch, rule: str, places: pd.DataFrame, shards: Path
) -> None:
    """The first images of a batch, each with the reason, the score and the pre-annotation.

    `places` are the IMAGE_PLACES of these images.
    """
    if is_direct_run():
        return
    head = ["| image | sample | reason | score | pre-annotation |", "|---|---|---|---|---|"]
    rows = [
        f"| ![{str(row.sample_id)[:8]}]({thumbnail(shards, row)}) | `{str(row.sample_id)[:12]}` "
        f"| {row.reason} | {_number(cast(float, row.score))} | {_pre_annotation(row)} |"
        for row in batch.rows.head(IMAGES_SHOWN).merge(places, on="sample_id").itertuples()
    ]
    counts = ", ".join(
        f"{count} {reason}" for reason, count in batch.rows["reason"].value_counts().items()
    )
    left_out = len(batch) - IMAGES_SHOWN
    more = f"\n\n... and {left_out} more" if left_out > 0 else ""
    publish_page(
        key=round_id,
        description=f"The images of {round_id}, and why they were chosen",
        markdown=f"# {round_id}: {len(batch)} images ({counts})\n\nChosen by {rule}.\n\n"
        + "\n".join(head + rows)
        + more,
    )


def publish_verdict(text: str, *, challenger: str) -> None:
    """Publish a verdict."""
    key = "verdict-" + challenger.replace(":", "-").replace("_", "-").lower()
    publish_page(key=key, description=f"Verdict on {challenger}", markdown=text)


def publish_signals(
    model: str, signals: Sequence[Signal], reason: str, pictures: bytes | None = None
) -> None:
    """Publish the signals of one window with the decision on them, the strongest first.

    `pictures` is a PNG of the images that moved most.
    """
    key = "drift-" + model.replace(":", "-").replace("_", "-").lower()
    page = signals_markdown(model, signals)
    if pictures is not None:
        page += f"\n\n## Images that moved most\n\n![images]({data_uri(pictures)})"
    publish_page(key=key, markdown=page, description=escape_markdown(reason))


def signals_markdown(model: str, signals: Sequence[Signal]) -> str:
    """The page: figures in a table, and below it, where Prefect cuts nothing off, the meanings."""
    ordered = sorted(signals, key=lambda one: -one.accumulated)
    drifted = sum(one.outcome == Shift.DRIFT for one in signals)
    rows = [
        {
            "signal": one.name, "about": str(one.family), "outcome": str(one.outcome),
            "value": _number(one.value), "threshold": _number(one.threshold),
            "evidence": f"{one.accumulated:.1f}", "rows": f"{one.rows:,}",
            "groups": f"{one.groups:,}",
        }
        for one in ordered
    ]  # fmt: skip
    meanings = [f"* **{escape_markdown(one.name)}**: {escape_markdown(one.meaning)}"
                for one in ordered]  # fmt: skip
    outcome = f"drift by {drifted} of {counted(len(signals), 'signal')}" if rows else "no signals"
    title = f"# {escape_markdown(model)}: {outcome}"
    table = [markdown_table(rows, escape_markdown)] if rows else []
    return "\n\n".join([title, *table, "\n".join(meanings)])


def thumbnail(shards: Path, row: Any) -> str:
    """The address of a small picture of the image."""
    image = Image.fromarray(decode_image(read_image(shards, location_of(row))))
    image.thumbnail((96, 96))
    if max(image.size) < 48:
        image = image.resize((48, 48), Image.Resampling.NEAREST)
    png = io.BytesIO()
    image.save(png, "PNG")
    return data_uri(png.getvalue())


def data_uri(png: bytes) -> str:
    """An address that carries the picture itself: the page fetches nothing."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _pre_annotation(row: Any) -> str:
    if not isinstance(row.pre_annotation, str):
        return "-"
    return f"{escape_markdown(row.pre_annotation)} ({row.confidence:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"
