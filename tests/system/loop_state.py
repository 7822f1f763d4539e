"""All that a workspace holds, but for what differs between any two runs of the same steps."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.database import metadata
from core.git import git, tags
from labeling.studio import client
from models.registry.model_store import FILES, entry
from models.serving.segment_reader import Record, scan
from tasks.context import Context, open_context
from tasks.label.choose import studio_address
from tests.system.loop_steps import ACKNOWLEDGED

# Times, places in files named by chance, and what other systems count are no content; the id of a
# verdict is a digest of how long a model took, too.
DIFFER = {"external_id", "segment", "offset_in_segment", "weights_sha256", "commit", "token",
          "verdict_id"}  # fmt: skip
SKIPPED = {"locks", "journal", "segments", "intents", "watermarks"}


def content(*, studio: bool) -> dict[str, Any]:
    """Rows of the ledger, snapshots, stored models, tasks in Label Studio, acknowledged answers."""
    ctx = open_context()
    state = ledger(ctx) | {"snapshots in git": frozen(ctx), "models on disk": stored(ctx)}
    acknowledged = ctx.workspace.root / ACKNOWLEDGED
    lines = acknowledged.read_text().splitlines() if acknowledged.exists() else []
    state |= {"acknowledged": sorted(set(lines)), "served": served(ctx)}
    if studio:
        state["Label Studio"] = in_studio(ctx)
    return state


def ledger(ctx: Context) -> dict[str, list[str]]:
    """Every row of every table that holds content, as text."""
    rows: dict[str, list[str]] = {}
    with ctx.engine.connect() as connection:
        for table in metadata.sorted_tables:
            if table.name in SKIPPED:
                continue
            named = [one for one in table.c if one.name not in DIFFER and one.name[-3:] != "_at"]
            if table.name == "predictions":
                named = [one for one in named if one.name not in ("offset", "seq")]
            found = connection.execute(select(*named)).tuples()
            rows[table.name] = sorted(_text(table.name, row) for row in found)
    return rows


def frozen(ctx: Context) -> dict[str, str]:
    """What each tag stands for: the files of its commit, without time and author."""
    root = ctx.workspace.root
    return {name: git(root, "rev-parse", f"{name}^{{tree}}") for name in tags(root)}


def served(ctx: Context) -> list[str]:
    """Every record in the segments, once however often it was served, without the time."""
    records = [part for path in ctx.workspace.traffic.glob("*.seg") for part in scan(path)]
    assert all(isinstance(part, Record) for part in records), records
    fields = [part.fields | {"served_at": None} for part in records if isinstance(part, Record)]
    return sorted({json.dumps(one) for one in fields})


def stored(ctx: Context) -> dict[str, dict[str, str]]:
    """The digest of every file of every model, but for the card, which has the time."""
    folder = ctx.workspace.bento_home / "models" / "hone"
    versions = [f"hone:{path.name}" for path in sorted(folder.glob("*")) if path.is_dir()]
    return {one: _digests(entry(ctx.workspace.bento_home, one)) for one in versions}


def _digests(folder: Path) -> dict[str, str]:
    names = [name for name in FILES if name != "card.json"]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def in_studio(ctx: Context) -> list[str]:
    """Every task: what is shown, to how many, what was predicted and answered."""
    with client.connect(**studio_address(ctx)) as studio:
        project = studio.project(ctx.workspace)
        tasks = studio.client.tasks.list(project=project, fields="all")
        return sorted(
            json.dumps(
                [
                    one.data,
                    one.overlap,
                    one.total_annotations,
                    sorted(str((p.model_version, p.score, p.result)) for p in one.predictions),
                ],
                sort_keys=True,
                default=str,
            )
            for one in tasks
        )


def _text(table: str, row: Any) -> str:
    values = [hashlib.sha256(one).hexdigest() if isinstance(one, bytes) else one for one in row]
    if table in ("models", "verdicts"):  # the card has the time, a verdict how long a model takes
        values = [_timeless(one) for one in values]
    return json.dumps(values, default=str, sort_keys=True)


def _timeless(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    timeless = {k: v for k, v in value.items() if k != "created_at"}
    if "criteria" in value:
        timeless["criteria"] = [one for one in value["criteria"] if one["name"] != "latency"]
    return timeless
