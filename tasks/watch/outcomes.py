"""The feedback that the service got, into the record and on to the labels."""

from prefect import task

from core.locks import LockBusy
from core.masking import MaskerFails
from core.text import counted
from tasks.context import open_context
from tasks.feedback import take_in
from tasks.retries import is_transient_error


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def drain_feedback() -> int:
    """Record the truths that the service got, and pass confirmed ones on; return how many are new.

    Idempotent. Call it after `drain_traffic`, so that the predictions are known. An ingest or a
    file of a million truths holds a lock for hours: the check of the traffic does not wait for it.
    """
    try:
        recorded, answers = take_in(open_context())
    except (LockBusy, MaskerFails) as busy:
        print(f"feedback waits for the next check: {busy}")
        return 0
    if recorded.new or answers:
        waiting = f", {recorded.waiting} about predictions not known here" * bool(recorded.waiting)
        print(f"feedback: {recorded.new} new{waiting}; {counted(answers, 'answer')} new")
    return recorded.new
