"""Checks of what services recorded of trials."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from core.findings import Finding
from core.workspace import Workspace
from models.rollout.spool import shadow_spool

DRAIN_AGAIN = "`hone fsck --repair` takes it from the segment again"
WAITS_DAYS = 1  # the watch drains every hour; longer means that nobody does


def trials_are_stored(engine: Engine, workspace: Workspace) -> Iterator[Finding]:
    """Segments of trials that are damaged, wait too long, or count as drained and are not."""
    limit = (datetime.now(UTC) - timedelta(days=WAITS_DAYS)).isoformat(timespec="microseconds")
    for segment in shadow_spool(engine, workspace.traffic):
        name = f"segment {segment.path.parent.name}/{segment.path.name}"
        for damage in segment.damage:
            what = f"{name} is damaged from byte {damage.start} to {damage.end}"
            remedy = f"restore {segment.path} from a backup and run `hone watch`"
            yield Finding("I11", what, remedy)
        if segment.lost:
            what = f"{name}, records of a trial that count as drained and are not stored"
            yield Finding("I11", f"{what}: {segment.lost}", DRAIN_AGAIN)
        if segment.waits_since and segment.waits_since < limit:
            what = f"{name}, records of a trial that wait to be drained: {segment.waiting}"
            yield Finding("I11", f"{what}, the oldest of {segment.waits_since}", "run `hone watch`")
