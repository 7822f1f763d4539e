"""Labels are carried in and out: what `hone import` and `hone export` call."""

import os
from pathlib import Path
from typing import Any

from core.locks import only_writer
from labeling.consensus.settle_labels import settle_labels
from labeling.formats.exports import export_snapshot
from labeling.formats.imports import match, read_labels, record_gold, record_import
from labeling.kinds import KINDS
from labeling.ledger.answers import refuse_lost_classes
from tasks.context import open_context
from tasks.policy_changes import record_policy_changes


def import_labels(
    path: Path,
    *,
    format: str | None = None,
    images: Path | None = None,
    gold: bool = False,
) -> dict[str, Any]:
    """Take over the labels in a file or a tree, their images first; return what came of it all.

    Idempotent: the same file again changes nothing, and one that was edited is taken as it is now.
    """
    ctx = open_context()
    classes, kind = ctx.workspace.class_names, KINDS[ctx.workspace.kind]
    record_policy_changes(ctx)
    with ctx.engine.connect() as connection:  # or the same file again would withdraw its answers
        refuse_lost_classes(connection, classes, kind)
    file = read_labels(path, classes, kind, format)
    matched = match(ctx.engine, ctx.workspace, file, folder=images, processes=os.cpu_count() or 1)
    record = record_gold if gold else record_import
    with only_writer(ctx.engine, "answers") as token:
        said = record(ctx.engine, token, matched, classes)
        settled = settle_labels(ctx.engine, token, ctx.policies.settling, classes)
    facts = {
        "source": file.source,
        "images": matched.images,
        "gold" if gold else "answers": {name: said[name] for name in _COUNTED if name in said},
        "unlabelled": said["unlabelled"],
        "labels": settled,
        "notes": file.notes,
        "problems": said["problems"],
    }
    _tell(facts, "gold" if gold else "answers")
    return facts


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
            "Label Studio imports answers of people without an account there only when it was "
            "started with ALLOW_IMPORT_TASKS_WITH_UNKNOWN_EMAILS=true"
        )
    return rows


_COUNTED = ("new", "known", "withdrawn", "refused")


def _tell(facts: dict[str, Any], what: str) -> None:
    images, said = facts["images"], facts[what]
    print(f"images: {images['added']} taken in, {images['known']} known{_refused(images)}")
    withdrawn = f", {said['withdrawn']} withdrawn" if said["withdrawn"] else ""
    unlabelled = f", {facts['unlabelled']} images without a label" if facts["unlabelled"] else ""
    counts = f"{said['new']} new, {said['known']} known{withdrawn}{_refused(said)}{unlabelled}"
    print(f"{what}: {counts}")
    print(f"labels: {', '.join(f'{count} {name}' for name, count in facts['labels'].items())}")
    for line in [*facts["notes"], *facts["problems"]]:
        print(f"  {line}")


def _refused(counts: dict[str, Any]) -> str:
    by_reason = ", ".join(
        f"{count} {reason}" for reason, count in sorted(counts["refused"].items())
    )
    return f", refused: {by_reason}" if by_reason else ""
