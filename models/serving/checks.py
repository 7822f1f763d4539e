"""What the record of served predictions promises, checked."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from core.findings import RESTORE, Finding
from core.workspace import Workspace
from models.registry.versions import models
from models.serving.prediction_store import predictions, read_served_image, unreadable_records


def served_images_are_whole(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Predictions whose image is not where the row says, or is another."""
    with engine.connect() as connection:
        for row in connection.execute(select(predictions).order_by(predictions.c.seq)):
            try:
                read_served_image(workspace.traffic, row)
            except (OSError, ValueError) as error:
                yield Finding(
                    "I1",
                    f"prediction {row.prediction_id}: {error}",
                    f"restore {workspace.traffic / row.segment} from a backup",
                )


def served_records_are_readable(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Segments in which a damaged record hides whole ones from the database."""
    for name, start in unreadable_records(engine, workspace.traffic).items():
        yield Finding(
            "I1",
            f"segment {name} is damaged at byte {start}: whole records behind it are not read",
            f"restore {workspace.traffic / name} from a backup",
        )


def predictions_lead_to_models(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Models that served a prediction and are not on record."""
    unknown = (
        select(predictions.c.model)
        .where(predictions.c.model.not_in(select(models.c.version)))
        .distinct()
    )
    with engine.connect() as connection:
        for version in connection.scalars(unknown):
            yield Finding("I9", f"predictions.model {version} is not in models", RESTORE)
