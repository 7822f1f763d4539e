"""Checks of the registry: justified releases, models that load, stores that hold data only."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Engine, Row, func, select

from core.findings import RESTORE, Finding
from core.intents import open_intents
from core.workspace import Workspace
from models.registry.bento import damaged_bentos
from models.registry.model_card import ModelCard
from models.registry.model_store import INTENT, entry, unrecorded_entries
from models.registry.releases import Action, Release, champion, from_row, releases
from models.registry.stored_entries import (
    damage_of,
    expected_tag,
    identity_of,
    saved_card,
    tag_of,
)
from models.registry.versions import PROMOTE, models, verdict_name, verdicts

DATA_ONLY = {".safetensors", ".json", ".npz", ".yaml", ".yml"}
OF_CARD = ("metrics", "snapshot", "code_commit", "seed", "created_at")  # also columns of models
ANOTHER = "`hone release VERSION --who NAME --why ...`"


def releases_are_justified(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Champions without a PROMOTE verdict that no named person released, and canaries likewise."""
    earlier: dict[int, Release] = {}
    with engine.connect() as connection:
        columns = verdicts.c["verdict_id", "challenger", "champion", "outcome"]
        judged = {row.verdict_id: row for row in connection.execute(select(*columns))}
        for row in connection.execute(select(releases).order_by(releases.c.number)):
            try:
                made = from_row(row)
                problem = _unjustified(made, earlier, judged)
            except ValueError as error:
                yield Finding("I6", str(error), RESTORE)
                continue
            if problem:
                what = f"release {made.number} of {made.champion} by {made.who!r} {problem}"
                yield Finding("I6", what, f"release the model before it: {ANOTHER}")
            earlier[made.number] = made


def _unjustified(
    made: Release, earlier: Mapping[int, Release], judged: Mapping[str, Row[Any]]
) -> str | None:
    """What is wrong with a change of what is served; None: a person or a verdict stands for it."""
    by_a_person = made.by_a_person and bool(made.why.strip())
    if made.action == Action.RELEASE:
        verdict = judged.get(made.verdict_id or "")
        outcome, challenger = (verdict.outcome, verdict.challenger) if verdict else (None, None)
        promoted = outcome == PROMOTE and challenger == made.champion
        return None if promoted or by_a_person else f"has verdict {outcome} of {challenger}"
    if made.action == Action.ROLLBACK:
        restored = earlier.get(made.restored)
        known = restored is not None and restored.champion == made.champion
        return None if known or by_a_person else "is a rollback to no release"
    before = earlier.get(made.number - 1)
    if before is None or before.champion != made.champion:
        return f"is a change ({made.action}) that leaves the champion, and it is another"
    pair = (made.challenger, made.champion, PROMOTE)
    shown = made.action == Action.CANARY and not by_a_person
    if shown and pair not in {tuple(one[1:]) for one in judged.values()}:
        return f"shows clients {made.challenger}, which no verdict promotes"
    return None


def releases_are_complete(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Releases that are gone: their numbers have a gap."""
    with engine.connect() as connection:
        rows, last = connection.execute(select(func.count(), func.max(releases.c.number))).one()
    if rows != (last or 0):
        yield Finding("I6", f"{last} releases were made, {rows} are in releases", RESTORE)


def models_are_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Models of which a file is missing or damaged; the champion is named as such."""
    in_service = champion(engine)
    with engine.connect() as connection:
        for row in connection.execute(select(models).order_by(models.c.version)):
            folder = entry(workspace.bento_home, row.version)
            problem = damage_of(folder, row.weights_sha256)
            if problem:
                of = "champion" if row.version == in_service else "model"
                remedy = f"restore {folder} from a copy, or release another: {ANOTHER}"
                yield Finding("I6", f"{of} {row.version}: {problem}", remedy)


def models_are_as_saved(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Models whose row, name or `model.yaml` says otherwise than the card beside the weights."""
    with engine.connect() as connection:
        for row in connection.execute(select(models).order_by(models.c.version)):
            folder = entry(workspace.bento_home, row.version)
            text = saved_card(folder, row.weights_sha256)
            if text is not None:  # or `models_are_whole` reports it
                yield from _unlike_card(row, folder, text)


def _unlike_card(row: Row[Any], folder: Path, text: bytes) -> Iterator[Finding]:
    card, stored = ModelCard.from_json(text), json.loads(text)
    wanted = {"config": stored, **{name: stored[name] for name in OF_CARD}}
    for name, value in wanted.items():
        if row._mapping[name] != value:
            what = f"models.{name} of {row.version} is another than in its card"
            yield Finding("I9", what, f"{folder / 'card.json'} has the right one; {RESTORE}")
    if not row.version.endswith(f"-{identity_of(folder)}"):
        what = f"{row.version} is the name of other contents"
        yield Finding("I9", what, f"restore {folder} from a copy")
    try:
        named = tag_of(folder)
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        named = {"unreadable": error}
    if named != expected_tag(row.version, card, row.weights_sha256):
        what = f"{folder / 'model.yaml'} is not that of {row.version}"
        yield Finding("I9", what, "`hone fsck --repair` writes it anew from the card")


def bentos_are_as_built(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Bentos with a file that is gone or changed, and the newest one if it is gone."""
    for version, problem in damaged_bentos(workspace):
        remedy = "`hone fsck --repair` builds it anew"
        yield Finding("I14", f"bento {version}: {problem}", remedy)


def stored_models_are_recorded(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Entries of the model store without a row, when no unfinished save explains them."""
    with engine.connect() as connection:
        unfinished = {saved["version"] for saved in open_intents(connection, INTENT).values()}
    for version in unrecorded_entries(engine, workspace.bento_home):
        if version not in unfinished:
            yield Finding(
                "I9",
                f"model {version} is in the store and not in the database",
                f"the database is older than its workspace: {RESTORE}",
            )


def verdicts_rest_on_evidence(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """PROMOTE verdicts whose accuracy is missing or no share, and verdicts that were changed."""
    with engine.connect() as connection:
        for row in connection.execute(select(verdicts)):
            accuracy = row.metrics.get("challenger_accuracy")
            is_share = isinstance(accuracy, float) and 0 <= accuracy <= 1
            if row.outcome == PROMOTE and not is_share:
                yield Finding(
                    "I11",
                    f"{row.verdict_id} promotes on accuracy {accuracy!r}",
                    "judge again: `hone retrain`",
                )
            elif row.verdict_id not in _names(row._asdict()):
                what = f"{row.verdict_id} ({row.outcome} of {row.challenger}) was changed"
                yield Finding("I11", f"{what} after it was made", RESTORE)


def _names(row: dict[str, Any]) -> list[str]:
    return [verdict_name(row, old=old) for old in (False, True)]


def models_hold_data_only(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Files in the model store that are of no kind that Hone writes.

    A save that was killed leaves a file under its temporary name; the next one removes it.
    """
    with engine.connect() as connection:
        saves = open_intents(connection, INTENT).values()
    unfinished = {entry(workspace.bento_home, saved["version"]) for saved in saves}
    for path in sorted((workspace.bento_home / "models").rglob("*")):
        if path.suffix == ".part" and path.parent in unfinished:
            continue
        if path.is_file() and path.name != "latest" and path.suffix not in DATA_ONLY:
            yield Finding(
                "I14",
                f"{path} is none of {', '.join(sorted(DATA_ONLY))}",
                "remove it: Hone writes no such file and would not load it",
            )
