"""What snapshots promise, checked: whole on the remote, as frozen, and free of held-out samples."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from core.findings import MEND, RESTORE, Finding
from core.git import tags
from core.intents import open_intents
from core.workspace import Workspace
from labeling.ledger.tables import audit, gold
from labeling.snapshots.publish import KIND, list_snapshots, load_snapshot, verify_remote

TRAINED_ON = ("train", "val", "soft")  # splits that have a part in the weights


def snapshots_are_on_the_remote(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots with a missing tag, or with an object that is not whole on the DVC remote."""
    for problem in verify_remote(workspace, *list_snapshots(engine)["name"]):
        yield Finding("I4", problem, MEND)


def tags_are_snapshots(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Git tags of snapshots that have no row in the ledger and no open intent."""
    with engine.connect() as connection:
        recorded = {*list_snapshots(engine)["name"], *open_intents(connection, KIND)}
    for name in sorted(set(tags(workspace.root)) - recorded):
        if name.startswith("snapshot-"):
            yield Finding(
                "I4",
                f"git tag {name} is no snapshot of the ledger",
                f"the database is older than its workspace: {RESTORE}",
            )


def snapshots_are_as_frozen(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Snapshots whose tag or table is another than the one that was published."""
    for name in list_snapshots(engine)["name"]:
        try:
            load_snapshot(engine, workspace, name)
        except (RuntimeError, ValueError) as error:
            yield Finding("I5", str(error), MEND)


def held_out_samples_are_not_trained_on(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Audit and gold samples, and their near-duplicates, that the newest snapshot trains on."""
    names = list(list_snapshots(engine)["name"])
    if not names:
        return
    try:
        table = load_snapshot(engine, workspace, names[-1])
    except (RuntimeError, ValueError):
        return  # `snapshots_are_as_frozen` reports it
    with engine.connect() as connection:
        held_out = {
            *connection.scalars(select(audit.c.sample_id)),
            *connection.scalars(select(gold.c.sample_id)),
        }
    trained = table[table["split"].isin(TRAINED_ON)]
    tested = table[table["split"] == "test"]
    leaked = trained["sample_id"].isin(held_out) | trained["group_id"].isin(tested["group_id"])
    for sample_id in trained.loc[leaked, "sample_id"]:
        yield Finding(
            "I11",
            f"{names[-1]}: audit or gold sample {sample_id[:12]}, or its like, is trained on",
            "cut a new snapshot with `hone collect`, then `hone retrain`",
        )
