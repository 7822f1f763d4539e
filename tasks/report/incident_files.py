"""The page of an incident: a file in the workspace's `reports`, and an artifact in Prefect."""

from pathlib import Path

from core.files import write_atomically
from models.watching import decisions, incidents
from tasks.context import Context
from tasks.report.artifacts import data_uri, publish_page
from tasks.report.incident_page import incident_page
from tasks.watch.pictures import exemplar_strip

FOLDER = "reports"


def publish_incident(ctx: Context, incident_id: str) -> Path:
    """Write the page anew, with the images that moved most; return its file. Idempotent."""
    with ctx.engine.connect() as connection:
        incident = incidents.find_incident(connection, incident_id)
        of_incident = decisions.decisions_of(connection, incident_id)
    shown = next((one.exemplars for one in reversed(of_incident) if one.exemplars), ())
    strip = exemplar_strip(ctx, shown)
    pictures = [] if strip is None else [(", ".join(shown), data_uri(strip))]
    page = incident_page(incident, of_incident, pictures)
    folder = ctx.workspace.root / FOLDER
    folder.mkdir(exist_ok=True)
    write_atomically(folder / ".gitignore", b"*\n")  # made from the database: nothing to version
    path = folder / f"{incident_id}.md"
    write_atomically(path, page.encode())
    publish_page(key=incident_id, markdown=page, description=f"What happened in {incident_id}")
    return path
