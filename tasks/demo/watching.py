"""What the demo shows of drift: the images that moved most, the alert, and how it ended."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.files import write_atomically
from models.serving.prediction_store import find_prediction, read_served_image
from models.watching.alerts import alert_overview
from models.watching.decisions import find_decision
from models.watching.incidents import find_incident
from tasks.context import open_context

EXEMPLARS = 3  # images that are written beside the workspace


def alert_folder(home: Path) -> Path:
    """The folder that is the demo's only channel."""
    return home / "alerts"


def channel(home: Path) -> str:
    """That folder as HONE_ALERTS has it."""
    return "file://" + quote(str(alert_folder(home)))


def drift_facts(home: Path, decision_id: str) -> dict[str, Any]:
    """The kind of drift, the incident, the images that moved most, and the alert as it arrived."""
    ctx = open_context()
    decision = find_decision(ctx.engine, decision_id)
    folder = home / "exemplars"
    folder.mkdir(exist_ok=True)
    pictures = []
    for number, prediction_id in enumerate((decision.exemplars or [])[:EXEMPLARS], start=1):
        row = find_prediction(ctx.engine, prediction_id)
        if row is None:
            raise RuntimeError(f"the decision {decision_id} shows {prediction_id}, which is gone")
        path = folder / f"{number}-{row.label}.png"
        write_atomically(path, read_served_image(ctx.workspace.traffic, row))
        pictures.append(str(path))
    messages = sorted(alert_folder(home).glob("*.txt"))
    return {
        "kind": decision.kind,
        "incident": decision.incident_id,
        "exemplars": pictures,
        "alerts": [message.read_text().splitlines()[0] for message in messages],
    }


def ending(incident_id: str | None) -> dict[str, Any]:
    """Whether the incident ended, and how many alerts are still open."""
    with open_context().engine.connect() as connection:
        incident = find_incident(connection, incident_id) if incident_id else None
        return {
            "incident_closed": incident is not None and incident.closed_at is not None,
            "open_alerts": alert_overview(connection).open,
        }
