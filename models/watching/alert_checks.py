"""A check of the recorded alerts and of the messages about them."""

from collections.abc import Iterator

from sqlalchemy import Engine, func, select

from core.database import stream
from core.findings import RESTORE, Finding
from core.workspace import Workspace
from models.watching.alerts import MOST_ALERTS, alert_messages, alerts


def alerts_reach_their_channels(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Alerts that are gone, messages about none, and messages that nobody sent and that arrived."""
    with engine.connect() as connection:
        count, last = connection.execute(
            select(func.count(), func.coalesce(func.max(alerts.c.seq), 0)).select_from(alerts)
        ).one()
        if count != last:
            yield Finding("I13", f"{last} alerts were raised, {count} are in alerts", RESTORE)
        for row in stream(connection, select(alert_messages)):
            mine = alerts.c.alert_id.in_(row.alerts[:MOST_ALERTS])
            newest = connection.scalar(select(func.max(alerts.c.seq)).where(mine))
            problem = None
            if newest != row.up_to:
                problem = f"counts as sent up to alert {row.up_to}, the newest in it is {newest}"
            elif row.delivered_at and (row.error or not row.attempts):
                problem = f"was delivered after {row.attempts} attempts with error {row.error!r}"
            if problem:
                yield Finding("I13", f"{row.message_id} to {row.channel} {problem}", RESTORE)
