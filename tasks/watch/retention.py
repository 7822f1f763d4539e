"""The images of the traffic that the policy does not retain, erased at the end of each check."""

from prefect import task
from prefect.runtime import flow_run

from core.locks import LockBusy
from core.text import counted
from models.watching.alerts import Alert, Kind
from tasks.context import Context, open_context
from tasks.retention import erase_images, masker_problem
from tasks.retries import is_transient_error
from tasks.watch.send import record_alert, record_recovery

MASKER = "masker"  # what the alert is about


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def apply_retention() -> int:
    """Erase images of the traffic by `[retention]` in hone.toml; return how many.

    A masker that does not work is an alert, until it works again.

    Idempotent: what a killed run decided is finished first.
    """
    who = f"watch-traffic {flow_run.name}" if flow_run.id else "hone watch"
    ctx = open_context()
    _raise_masker(ctx)
    try:
        counts = erase_images(ctx, who)
    except LockBusy as busy:
        print(f"images are erased at the next check: {busy}")
        return 0
    if counts:
        by_rule = ", ".join(f"{images:,} by {why}" for why, images in counts.items())
        print(f"{counted(sum(counts.values()), 'image')} of the traffic erased: {by_rule}")
    return sum(counts.values())


def _raise_masker(ctx: Context) -> None:
    problem = masker_problem(ctx)
    if problem is None:
        record_recovery(ctx, MASKER, title="images of the traffic are masked again", body="")
        return
    print(problem)
    title = "images of the traffic cannot be masked"
    record_alert(ctx, Alert(MASKER, Kind.DAMAGE, problem, title, problem, "hone ingest"))
