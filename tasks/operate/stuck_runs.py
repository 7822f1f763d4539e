"""Runs that Prefect counts as in progress although nothing runs them, and whether workers live.

A worker that is killed while it submits a run leaves it PENDING, a killed run stays RUNNING, and
nothing in Prefect ends them. Two facts tell such a run from a live one:

- the process that runs it is on record, was on this machine and has ended;
- its place is lost. A run holds the place of its deployment by a lease that it renews, and
  Prefect's engine ends a run that cannot. So of the runs in progress of a deployment only the
  newest can be alive, as many as places are taken. One that its process is still starting for
  has not begun to renew: a process of this machine that has it in its environment shows that.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

from settings import Settings
from tasks.operate.prefect_api import (
    Deployment,
    PrefectApi,
    PrefectRun,
    PrefectUnreachable,
    connect,
)

IN_PROGRESS = ("PENDING", "RUNNING", "CANCELLING")
# A run that takes its place between two answers of the server would look as if it had none.
YOUNG = timedelta(seconds=10)
STATUS_SECONDS = 1.0


@dataclass(frozen=True)
class StuckRun:
    """A run that nothing runs any more, and the fact that shows it."""

    run: PrefectRun
    reason: str
    # A state that ends a run frees a place, and when its own is gone Prefect frees that of another.
    would_free_another: bool = False


@dataclass(frozen=True)
class PrefectOverview:
    """What keeps runs on the Prefect server from going on."""

    problem: str | None = None  # why the server says nothing
    stuck: tuple[StuckRun, ...] = ()
    late: int = 0  # runs that are due and that no worker took
    late_since: str | None = None
    unpolled: tuple[str, ...] = ()  # pools of our deployments that no worker polls

    @property
    def stuck_since(self) -> str | None:
        """Since when the first of the stuck runs stands."""
        return min((stuck.run.since for stuck in self.stuck), default=None)


def load_overview(settings: Settings) -> PrefectOverview:
    """What the server says within a second."""
    try:
        with connect(settings, STATUS_SECONDS) as api:
            return _overview(api)
    except PrefectUnreachable as error:
        return PrefectOverview(problem=str(error))


def _overview(api: PrefectApi) -> PrefectOverview:
    deployments = api.deployments()
    late = api.runs(state={"name": {"any_": ["Late"]}})
    pools = sorted({one.pool for one in deployments if one.pool})
    return PrefectOverview(
        stuck=tuple(find_stuck(api, deployments)),
        late=len(late),
        late_since=min((run.due for run in late), default=None),
        unpolled=tuple(pool for pool in pools if not api.has_worker(pool)),
    )


def find_stuck(api: PrefectApi, deployments: Sequence[Deployment]) -> list[StuckRun]:
    """The runs in progress that nothing runs; the deployments are read before, never after."""
    running = api.runs(state={"type": {"any_": list(IN_PROGRESS)}})
    return list(stuck_runs(running, deployments, datetime.now(UTC)))


def stuck_runs(
    running: Iterable[PrefectRun], deployments: Sequence[Deployment], at: datetime
) -> Iterator[StuckRun]:
    """Those of the runs in progress that nothing runs at this time, the oldest first."""
    runs = sorted(running, key=lambda run: datetime.fromisoformat(run.since))
    taken = {one.deployment_id: one.taken for one in deployments}
    placeless = {run.run_id for one in deployments for run in _without_place(runs, one)}
    for run in runs:
        lost = run.run_id in placeless
        is_young = at - datetime.fromisoformat(run.since) <= YOUNG
        reason = None
        if run.has_lost_its_process:
            reason = f"its process {run.process} has ended"
        elif lost and not is_young and not _has_process_here(run):
            reason = "it lost the place of its deployment, which a live run renews"
        if reason is not None:
            yield StuckRun(run, reason, lost and bool(taken.get(run.deployment_id or "")))


def _without_place(runs: list[PrefectRun], deployment: Deployment) -> list[PrefectRun]:
    """The runs of the deployment for which no place is left, if the newest ones have theirs."""
    if deployment.taken is None:
        return []
    mine = [run for run in runs if run.deployment_id == deployment.deployment_id]
    return mine[: max(len(mine) - deployment.taken, 0)]


def _has_process_here(run: PrefectRun) -> bool:
    """Whether a worker of this machine has a process for the run."""
    environments = (process.info["environ"] for process in psutil.process_iter(["environ"]))
    return any((one or {}).get("PREFECT__FLOW_RUN_ID") == run.run_id for one in environments)
