"""Labels in and out of a workspace: what `hone import` and `hone export` call."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.locks import only_writer
from core.text import printable
from labeling.consensus.settle_labels import settle_labels
from labeling.formats.exports import export_snapshot
from labeling.formats.import_result import ImportResult
from labeling.formats.imports import match, read_labels, record_gold, record_import
from labeling.kinds import KINDS
from labeling.ledger.answers import refuse_lost_classes
from tasks.context import open_context
from tasks.policy_changes import record_policy_changes
from tasks.report.refusals import MAX_LISTED, by_reason


def import_labels(
    path: Path,
    *,
    format: str | None = None,
    images: Path | None = None,
    gold: bool = False,
    allow_outside: bool = False,
) -> ImportResult:
    """Import the labels in a file or a tree, their images first; return what became of them.

    Idempotent: the same file again changes nothing, and one that was edited replaces what it had.
    """
    ctx = open_context()
    classes, kind = ctx.workspace.class_names, KINDS[ctx.workspace.kind]
    record_policy_changes(ctx)
    with ctx.engine.connect() as connection:  # or the same file again would withdraw its answers
        refuse_lost_classes(connection, classes, kind)
    file = read_labels(path, classes, kind, format)
    matched = match(
        ctx.engine,
        ctx.workspace,
        file,
        folder=images,
        allow_outside=allow_outside,
        processes=os.cpu_count() or 1,
        audit=ctx.policies.audit,
    )
    record = record_gold if gold else record_import
    with only_writer(ctx.engine, "answers") as token:
        recorded = record(ctx.engine, token, matched, classes)
        settled = settle_labels(ctx.engine, token, ctx.policies.settling, classes, kind)
    result = ImportResult(
        source=file.source,
        images=matched.images,
        answers=None if gold else recorded.counts,
        gold=recorded.counts if gold else None,
        unlabelled=recorded.unlabelled,
        labels=settled,
        notes=file.notes,
        problems=recorded.problems,
        refused=recorded.refused,
    )
    print(printable("\n".join(_lines(result))))
    return result


def export_labels(
    target: Path, *, format: str, snapshot: str | None = None, images: bool = True
) -> int:
    """Write a snapshot, the newest by default, into the new folder `target`; return its rows."""
    ctx = open_context()
    rows = export_snapshot(
        ctx.engine, ctx.workspace, snapshot, format=format, target=target, images=images
    )
    print(f"{rows} labels written to {target} as {format}{'' if images else ', without images'}")
    if format == "label-studio":
        print(
            "Label Studio imports answers of annotators without an account there only when it was "
            "started with ALLOW_IMPORT_TASKS_WITH_UNKNOWN_EMAILS=true"
        )
    return rows


def _lines(result: ImportResult) -> Iterator[str]:
    """The result of an import in a few lines, with every refused row where these are few."""
    images = result.images
    yield f"images: {images.added} new, {images.known} known{_refused(images.refused)}"
    counts = result.gold or result.answers
    assert counts is not None
    withdrawn = f", {counts.withdrawn} withdrawn" if counts.withdrawn else ""
    unlabelled = f", {result.unlabelled} images without a label" if result.unlabelled else ""
    yield (
        f"{'gold' if result.gold else 'answers'}: {counts.new} new, {counts.known} known"
        f"{withdrawn}{_refused(counts.refused)}{unlabelled}"
    )
    yield f"labels: {', '.join(f'{count} {change}' for change, count in result.labels.items())}"
    yield from (f"  {note}" for note in result.notes)
    if len(result.refused) <= MAX_LISTED:
        for row in result.refused:
            image = f", {row.path}" if row.path else ""
            yield f"  {row.where}{image}: {row.reason}, {row.detail}"
        return
    yield from (f"  {problem}" for problem in result.problems)
    if result.answers:
        yield "  `hone quality` lists refused answers, `hone refused` refused images"


def _refused(counts: Mapping[str, int]) -> str:
    return f", refused: {by_reason(counts)}" if counts else ""
