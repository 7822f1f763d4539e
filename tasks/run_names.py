"""Names of flow runs: what a run is about, told apart in a list of hundreds."""

from pathlib import Path

from prefect.runtime import deployment, flow_run
from sqlalchemy import Connection

from labeling.ledger import rounds
from labeling.snapshots import publish
from models.registry import releases
from tasks.context import open_context


def ingest_name() -> str:
    """The folders that are taken in."""
    folders = flow_run.parameters.get("folders") or ["inbox"]
    return "ingest-" + "-".join(Path(folder).name for folder in folders)


def label_name() -> str:
    """The round that is worked on."""
    with open_context().engine.connect() as connection:
        return f"label-{flow_run.parameters.get('round_id') or _round(connection)}"


def retrain_name() -> str:
    """The snapshot that is trained on."""
    with open_context().engine.connect() as connection:
        newest = publish.newest_snapshot(connection)
    return f"retrain-{flow_run.parameters.get('snapshot') or newest or 'without-snapshot'}"


def distill_name() -> str:
    """The model that teaches."""
    return f"distill-{releases.champion(open_context().engine) or 'nothing'}"


def watch_name() -> str:
    """The model that is watched."""
    return f"watch-{releases.champion(open_context().engine) or 'nothing'}"


def review_name() -> str:
    """The round in which labels are looked at again."""
    with open_context().engine.connect() as connection:
        return f"review-{_round(connection)}"


def deployed_run() -> str | None:
    """The id of this run of a deployment, the same after it was killed; None in a terminal."""
    return flow_run.id if deployment.id else None


def _round(connection: Connection) -> str:
    return rounds.begun_round(connection, deployed_run()) or rounds.new_round(connection)
