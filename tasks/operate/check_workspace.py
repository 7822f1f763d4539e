"""What is broken in the workspace: a table in Prefect, an event, and a run that fails."""

import hashlib
from collections.abc import Sequence

from prefect import task
from sqlalchemy.exc import SQLAlchemyError

from core.findings import Finding
from core.text import counted
from models.watching.alerts import Alert, Kind
from settings import Settings
from tasks.context import open_context
from tasks.events import EventName, emit
from tasks.operate.fsck import check
from tasks.report.artifacts import escape_markdown, publish_table
from tasks.retries import is_transient_error
from tasks.watch.send import record_alert, record_recovery, send_due, send_unrecorded

MENDED_BY = "hone fsck --repair"
ALERTED = 10  # findings in an alert
SHOWN = 200  # findings in the table: a cause that breaks more is seen in these


class WorkspaceDamaged(RuntimeError):
    """A promise is broken; `hone fsck` lists what."""


@task(
    retries=2,
    retry_delay_seconds=[30, 300],
    retry_condition_fn=is_transient_error,
    timeout_seconds=6 * 3600,
)
def find_damage() -> list[Finding]:
    """Every broken promise, with its harm and its remedy."""
    findings = check()
    print(f"{len(findings)} findings" if findings else "every promise holds")
    return findings


@task
def publish_findings(findings: Sequence[Finding]) -> None:
    """Show the findings as a table in Prefect; an empty one says that all is well."""
    rows = [
        {name: escape_markdown(text) for name, text in vars(one).items()}
        for one in findings[:SHOWN]
    ]
    more = f", the first {SHOWN} of them here" if len(findings) > SHOWN else ""
    description = f"{len(findings)} broken promises{more}" if findings else "every promise holds"
    publish_table(key="findings", table=rows, description=description)


@task
def alert_damage(findings: Sequence[Finding]) -> None:
    """Let the channels of HONE_ALERTS know of damage that is new, and of its end.

    A workspace that is too damaged to record the alert sends it all the same.
    """
    title = f"{counted(len(findings), 'finding')} in the workspace"
    body = "\n".join(f"{one.promise}  {one.what}: {one.harm}" for one in findings[:ALERTED])
    try:
        ctx = open_context()
        if findings:
            key = hashlib.sha256(repr([*findings]).encode()).hexdigest()
            record_alert(ctx, Alert("workspace", Kind.DAMAGE, key, title, body, MENDED_BY))
        else:
            record_recovery(ctx, "workspace", title="every promise holds again", body="")
        lines = send_due(ctx)
    except (SQLAlchemyError, OSError, ValueError) as error:
        outcomes = send_unrecorded(Settings(), title, f"{body}\nTo act: {MENDED_BY}")
        lines = [f"{name}: {why or 'took the alert'}" for name, why in outcomes]
        lines.append(f"the alert was not recorded: {str(error).splitlines()[0]}")
    for line in lines:
        print(line)


@task
def raise_alarm(findings: Sequence[Finding]) -> None:
    """Raise `hone.workspace-damaged` and fail where anything was found."""
    if not findings:
        return
    first = findings[0]
    payload = {"findings": str(len(findings)), "first": f"{first.promise} {first.what}"}
    emit(open_context(), EventName.DAMAGED, payload)
    raise WorkspaceDamaged(
        f"{len(findings)} findings, the first: {first.promise} {first.what}: {first.harm}; "
        f"{first.remedy}. `hone fsck` lists all, `hone fsck --repair` mends what a copy can mend"
    )
