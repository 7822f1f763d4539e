"""The last step of runs that may have raised an alert: what is due is sent."""

from prefect import task

from tasks.context import open_context
from tasks.retries import is_transient_error
from tasks.watch.send import send_due


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def send_alerts() -> None:
    """Send each channel what is due. A channel that fails is tried again by a later run."""
    for line in send_due(open_context()):
        print(line)
