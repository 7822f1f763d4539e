"""A window of served predictions, the signals in it, a decision, and the event it raises.

At its end the images are erased that the check has looked at and the policy does not retain.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow

from models.watching.signals import WatchPolicy
from tasks.retrain.release import package_release
from tasks.run_names import watch_name
from tasks.run_policies import choose_policies
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs
from tasks.watch.act import act_on
from tasks.watch.alert import send_alerts
from tasks.watch.check import check_window, drain_traffic
from tasks.watch.outcomes import drain_feedback
from tasks.watch.retention import apply_retention
from tasks.watch.trial import advance_trial, unpackaged


@flow(
    name="watch-traffic",
    flow_run_name=watch_name,
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def watch_traffic(watch: WatchPolicy | None = None) -> str | None:
    """Look at the traffic since the last check; return the decision's id, None without a model.

    A challenger in shadow or canary goes its next step, or is withdrawn, before that. Alerts are
    sent and images erased also where something before fails; the run then fails after that.

    The policy is that of `hone.toml` unless this run is given its own.
    """
    policies = choose_policies(watch=watch)
    decision_id = None
    errors: list[Exception] = []
    with _later(errors):
        drain_traffic()
        drain_feedback()
        promoted = advance_trial() or unpackaged()
        if promoted is not None:
            with _later(errors):
                package_release(promoted)
        decision_id = check_window(policies.watch)
        act_on(decision_id)
    with _later(errors):
        send_alerts()
    with _later(errors):
        apply_retention()
    if errors:
        raise errors[0]
    return decision_id


@contextmanager
def _later(errors: list[Exception]) -> Iterator[None]:
    """Go on after an error, which is raised at the end."""
    try:
        yield
    except Exception as error:
        print(f"{type(error).__name__}: {error}; the rest of the run goes on")
        errors.append(error)
