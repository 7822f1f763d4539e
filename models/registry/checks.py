"""Checks of the registry: justified releases, models that load, stores that hold data only."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from core.findings import RESTORE, Finding
from core.intents import open_intents
from core.workspace import Workspace
from models.registry.model_store import INTENT, entry, load_model, unrecorded_entries
from models.registry.versions import AUTOMATIC, champion, releases, verdicts

DATA_ONLY = {".safetensors", ".json", ".npz", ".yaml", ".yml"}
ANOTHER = "`hone release VERSION --who NAME --why ...`"


def releases_are_justified(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Releases without a PROMOTE verdict of their model that no named person made."""
    query = (
        select(releases, verdicts.c.outcome, verdicts.c.challenger.label("judged"))
        .join(verdicts, verdicts.c.verdict_id == releases.c.verdict_id, isouter=True)
        .order_by(releases.c.number)
    )
    with engine.connect() as connection:
        for row in connection.execute(query):
            promoted = row.outcome == "PROMOTE" and row.judged == row.champion
            by_a_person = row.who.strip() and row.who.split()[0] != AUTOMATIC and row.why.strip()
            if not (promoted or by_a_person):
                yield Finding(
                    "I6",
                    f"release {row.number} of {row.champion} by {row.who!r} has verdict "
                    f"{row.outcome} of {row.judged}",
                    f"release the model before it: {ANOTHER}",
                )


def the_champion_loads(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """The champion, when a file of it is missing or damaged."""
    version = champion(engine)
    if version is None:
        return
    try:
        load_model(engine, workspace.bento_home, version)
    except (OSError, RuntimeError, ValueError) as error:
        yield Finding("I6", f"champion {version}: {error}", f"release another: {ANOTHER}")


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
    """PROMOTE verdicts whose accuracy is missing or no share."""
    with engine.connect() as connection:
        for row in connection.execute(select(verdicts).where(verdicts.c.outcome == "PROMOTE")):
            accuracy = row.metrics.get("challenger_accuracy")
            if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
                yield Finding(
                    "I11",
                    f"{row.verdict_id} promotes on accuracy {accuracy!r}",
                    "judge again: `hone retrain`",
                )


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
