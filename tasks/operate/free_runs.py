"""Runs that nothing runs any more are run again, so that what was asked for is done once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect import task

from core.locks import only_writer
from models.watching.alerts import Alert, Kind
from tasks.context import open_context
from tasks.operate.prefect_api import PrefectApi, PrefectRun, connect
from tasks.operate.stuck_runs import StuckRun, find_stuck
from tasks.retries import is_transient_error
from tasks.waiting_runs import BY_ITSELF
from tasks.watch.send import record_alert

AGAIN = "AwaitingRetry"
ATTEMPTS = 3  # a run that kills its process each time, for want of memory say, is left Crashed then
RECENT = timedelta(days=1)  # a run that crashed earlier is nobody's wish any more


@task(retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient_error)
def free_runs() -> int:
    """Free every run that nothing runs, and rerun those whose process crashed; return how many.

    Idempotent. A run that is alive is never touched: it is looked at once more before its state
    is set, by one process at a time.
    """
    ctx = open_context()
    freed = 0
    with connect(ctx.settings) as api, only_writer(ctx.engine, "free-stuck-runs") as token:
        for stuck in [*find_stuck(api, api.deployments()), *_crashed_runs(api)]:
            token.check()
            freed += free_run(api, stuck)
            if is_given_up(api, stuck):
                record_alert(ctx, alert_of(stuck))
    print(f"{freed} runs freed" if freed else "no run is stuck")
    return freed


def free_run(api: PrefectApi, stuck: StuckRun) -> bool:
    """Give the run the state that ends or repeats it; return whether it was given one."""
    run = stuck.run
    if stuck.would_free_another:
        print(f"{run.name}: {stuck.reason}; it is freed when the run that has the place has ended")
        return False
    state = _next_state(api, stuck)
    if state is None or api.run(run.run_id).state_id != run.state_id:
        return False
    print(f"{run.name} ({run.state} since {run.since}): {state['message']}")
    return api.set_state(run.run_id, state)


def is_given_up(api: PrefectApi, stuck: StuckRun) -> bool:
    """Whether a run of a deployment has used its attempts and no later run does its work."""
    run = stuck.run
    if run.deployment_id is None or run.state not in ("RUNNING", "CRASHED"):
        return False
    is_last = api.count_states(run.run_id, AGAIN) >= ATTEMPTS - 1
    return is_last and _run_that_covers(api, run) is None


def alert_of(stuck: StuckRun) -> Alert:
    """The alert about a run that is not run again."""
    run = stuck.run
    return Alert(
        about=f"run {run.run_id}",
        kind=Kind.STUCK,
        key="",
        title=f"the run {run.name} did not end in {ATTEMPTS} attempts",
        body=f"{stuck.reason}. What it was to do is not done; its log in Prefect says how far it "
        "came.",
        command=f"prefect flow-run logs {run.run_id}",
        is_event=True,
    )


def _next_state(api: PrefectApi, stuck: StuckRun) -> dict[str, str] | None:
    run, reason = stuck.run, stuck.reason
    if run.state == "CANCELLING":
        return {"type": "CANCELLED", "message": f"{reason}; it was to be cancelled"}
    if run.deployment_id is None:
        message = f"{reason}; run the command again, it finishes what was begun"
        return {"type": "CRASHED", "message": message}
    if (other := _run_that_covers(api, run)) is not None:
        message = f"{reason}; {other.name} started after it was due and does its work"
        covered = {"type": "CANCELLED", "name": "Covered", "message": message}
        return None if run.state == "CRASHED" else covered
    if run.state != "PENDING" and api.count_states(run.run_id, AGAIN) >= ATTEMPTS - 1:
        message = f"{reason}; that was attempt {ATTEMPTS}, so it is not run again: read its log"
        return None if run.state == "CRASHED" else {"type": "CRASHED", "message": message}
    return {"type": "SCHEDULED", "name": AGAIN, "message": f"{reason}; it is run again"}


def _run_that_covers(api: PrefectApi, run: PrefectRun) -> PrefectRun | None:
    """A later run of the same work, if no person asked for this one."""
    if run.maker not in BY_ITSELF:
        return None
    later = api.runs(
        deployment_id={"any_": [run.deployment_id]},
        state={"type": {"any_": ["RUNNING", "COMPLETED"]}},
        start_time={"after_": run.due},
    )
    same = (one for one in later if one.parameters == run.parameters and one.run_id != run.run_id)
    return next(same, None)


def _crashed_runs(api: PrefectApi) -> Iterator[StuckRun]:
    """Runs whose end their worker reported: it was stopped, or the process was killed."""
    after = (datetime.now(UTC) - RECENT).isoformat()
    crashed = api.runs(state={"type": {"any_": ["CRASHED"]}}, end_time={"after_": after})
    for run in crashed:
        if run.deployment_id is not None:
            yield StuckRun(run, "its process ended before the flow did")
