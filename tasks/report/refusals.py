"""Refused files in a few lines: each of them where these are few, else the counts by reason."""

from collections.abc import Iterator, Mapping, Sequence

from labeling.ledger.image_queries import RefusedFile

MAX_LISTED = 10  # refused files or rows that a command prints one by one


def refused_lines(counts: Mapping[str, int], files: Sequence[RefusedFile]) -> Iterator[str]:
    """A line for each refused file, or where there are too many how to list them."""
    if sum(counts.values()) > MAX_LISTED:
        yield "  `hone refused` lists them"
        return
    for file in files:
        yield f"  {file.path}: {file.reason}, {file.detail}"


def by_reason(counts: Mapping[str, int]) -> str:
    """The counts of each reason: "2 EMPTY, 1 TRUNCATED"."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
