"""Runs that a dead worker or server left behind are found and run again."""

from prefect import flow

from tasks.operate.free_runs import free_runs
from tasks.run_process import record_process
from tasks.waiting_runs import cancel_covered_runs
from tasks.watch.alert import send_alerts


@flow(
    name="free-stuck-runs",
    flow_run_name="free-stuck-runs",
    on_running=[record_process, cancel_covered_runs],
    log_prints=True,
)
def free_stuck_runs() -> int:
    """Free the runs that Prefect counts as in progress although nothing runs them."""
    freed = free_runs()
    send_alerts()
    return freed
