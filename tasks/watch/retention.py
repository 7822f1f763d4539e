"""The images of the traffic that the policy does not retain, erased at the end of each check."""

from prefect import task
from prefect.runtime import flow_run

from core.locks import LockBusy
from core.text import counted
from tasks.context import open_context
from tasks.retention import erase_images
from tasks.retries import is_transient_error


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def apply_retention() -> int:
    """Erase images of the traffic by `[retention]` in hone.toml; return how many.

    Idempotent: what a killed run decided is finished first.
    """
    who = f"watch-traffic {flow_run.name}" if flow_run.id else "hone watch"
    try:
        counts = erase_images(open_context(), who)
    except LockBusy as busy:
        print(f"images are erased at the next check: {busy}")
        return 0
    if counts:
        by_rule = ", ".join(f"{images:,} by {why}" for why, images in counts.items())
        print(f"{counted(sum(counts.values()), 'image')} of the traffic erased: {by_rule}")
    return sum(counts.values())
