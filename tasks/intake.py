"""Served images on their way to samples, and what became of files that came in."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from core.masking import require_masker
from core.text import printable
from labeling.ingest.intake import Intake, adopt
from models.serving import prediction_store
from tasks.context import Context
from tasks.report.refusals import by_reason, refused_lines


def served_images(
    traffic: Path, rows: Iterable[Any], *, left_out: Callable[[str], object] = print
) -> Iterator[tuple[str, bytes]]:
    """The images of predictions; one whose segment is damaged or away holds up no other.

    `left_out` gets a sentence about each of those.
    """
    for row in rows:
        try:
            image = prediction_store.read_served_image(traffic, row)
        except (OSError, ValueError) as error:  # `hone fsck` goes on naming it
            left_out(f"the image of prediction {row.prediction_id} is left out: {error}")
        else:
            yield str(row.prediction_id), image


def adopt_served(ctx: Context, images: Iterable[tuple[str, bytes]]) -> Intake:
    """Make samples of served images, masked by the policy; `MaskerFails` if that cannot be."""
    policies = ctx.policies
    require_masker(policies.retention.mask)
    return adopt(
        ctx.engine, ctx.workspace, images, audit=policies.audit, mask=policies.retention.mask
    )


def print_intake(counts: Intake, where: str) -> None:
    """Print what became of the files in a line, and the refused ones where these are few."""
    refused = by_reason(counts.refused)
    total = f"{where}: {counts.added} added, {counts.known} known, refused: {refused or 'none'}"
    for line in (total, *refused_lines(counts.refused, counts.refused_files)):
        print(printable(line))
