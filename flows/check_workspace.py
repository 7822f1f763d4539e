"""Every promise checked over database, stores and remotes; the run fails where one is broken."""

from prefect import flow

from tasks.operate.check_workspace import alert_damage, find_damage, publish_findings, raise_alarm
from tasks.waiting_runs import cancel_covered_runs


@flow(name="check-workspace", on_running=[cancel_covered_runs], log_prints=True)
def check_workspace() -> None:
    """Check the workspace as `hone fsck` does; nothing is changed or mended."""
    findings = find_damage()
    publish_findings(findings)
    alert_damage(findings)
    raise_alarm(findings)
