"""Refused files and rows in a few lines: each where these are few, else the counts by reason."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from labeling.formats.metadata_table import MatchedMetadata, MetadataFile
from labeling.ledger.image_queries import RefusedFile
from labeling.ledger.metadata import MetadataCounts

MAX_LISTED = 10  # refused files or rows that a command prints one by one


def refused_lines(counts: Mapping[str, int], files: Sequence[RefusedFile]) -> Iterator[str]:
    """A line for each refused file, or where there are too many how to list them."""
    if sum(counts.values()) > MAX_LISTED:
        yield "  `hone refused` lists them"
        return
    for file in files:
        yield f"  {file.path}: {file.reason}, {file.detail}"


def metadata_lines(
    file: MetadataFile, matched: MatchedMetadata, counts: MetadataCounts
) -> Iterator[str]:
    """What became of a table of metadata, with the first refused rows and their places."""
    refused = by_reason(Counter(row.reason for row in matched.refused))
    changes = f"{counts.new} values new, {counts.changed} changed, {counts.known} known"
    where = f"{file.path.name}: {', '.join(file.columns)} of {len(matched.values)} images"
    yield f"{where}: {changes}, refused: {refused or 'none'}"
    yield from (f"  {note}" for note in file.notes)
    for row in matched.refused[:MAX_LISTED]:
        yield f"  {row.where}: {row.reason}, {row.detail}"
    if more := matched.refused[MAX_LISTED:]:
        yield f"  and {len(more)} more rows"


def by_reason(counts: Mapping[str, int]) -> str:
    """The counts of each reason: "2 EMPTY, 1 TRUNCATED"."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
