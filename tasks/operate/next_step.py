"""What to do next in a workspace: the first of a list of rules that applies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.text import counted

if TYPE_CHECKING:
    from tasks.operate.status import Status


@dataclass(frozen=True)
class NextStep:
    """A command, and the reason for it."""

    command: str
    reason: str

    def __str__(self) -> str:
        return f"`{self.command}` - {self.reason}"


def next_step(status: "Status") -> NextStep:
    """What brings the loop forward."""
    return next(step for rule in RULES if (step := rule(status)) is not None)


def _mend_prefect(status: "Status") -> NextStep | None:
    server = status.prefect
    if server is None:
        return None
    if server.problem:
        return NextStep("prefect server start", server.problem)
    waiting = server.late + len(server.stuck)
    if waiting and server.unpolled:
        command = f"prefect worker start --pool {server.unpolled[0]}"
        return NextStep(command, f"no worker polls the pool, for {counted(waiting, 'waiting run')}")
    if not server.stuck:
        return None
    stuck = server.stuck[0]
    command = "prefect deployment run free-stuck-runs/free-stuck-runs"
    return NextStep(command, f"{stuck.run.name} is {stuck.run.state} and {stuck.reason}")


def _ingest(status: "Status") -> NextStep | None:
    if status.samples:
        return None
    return NextStep("hone ingest PATH", "there are no images yet")


def _settle(status: "Status") -> NextStep | None:
    if not status.unsettled:
        return None
    return NextStep(
        "hone collect", f"new answers to {counted(status.unsettled, 'image')} wait to be settled"
    )


def _resume(status: "Status") -> NextStep | None:
    halt = status.halt
    if halt is None:
        return None
    reason = f"the service is halted by {halt.who}: {halt.why}; `hone why` says on what evidence"
    return NextStep("hone resume --who NAME --why REASON", reason)


def _answer_drift(status: "Status") -> NextStep | None:
    decision = status.waiting_drift
    if decision is None or _busy(status):
        return None
    return NextStep("hone label", f"the traffic drifted: {decision.reason}")


def _watch(status: "Status") -> NextStep | None:
    if not status.champion or not status.undrained_segments:
        return None
    return NextStep("hone watch", "the service recorded traffic that was not checked yet")


def _wait_for_annotators(status: "Status") -> NextStep | None:
    if not _busy(status):
        return None
    reason = f"once annotators have answered; they have {counted(status.assigned, 'image')} open"
    return NextStep("hone collect", reason)


def _first_label(status: "Status") -> NextStep | None:
    if status.labels or not status.pool:
        return None
    return NextStep(
        "hone label", f"{counted(status.pool, 'image')} are in the pool and none has a label"
    )


def _retrain(status: "Status") -> NextStep | None:
    untrained = [name for name in status.snapshots[-1:] if name not in status.trained_snapshots]
    if not untrained or (status.champion is None and not status.audit_progress.verdict_possible):
        return None
    return NextStep("hone retrain", f"no model was trained on {untrained[0]} yet")


def _more_audit(status: "Status") -> NextStep | None:
    if status.champion or status.audit_progress.verdict_possible or not status.pool:
        return None
    return NextStep("hone label --audit-share 0.5", status.audit_progress.sentence())


def _cut_snapshot(status: "Status") -> NextStep | None:
    if status.champion or status.snapshots or not status.labels:
        return None
    return NextStep("hone collect --every 1", "there are labels, and no snapshot to train on")


def _release(status: "Status") -> NextStep | None:
    verdict = status.last_verdict
    if verdict is None or verdict.outcome != "PROMOTE" or verdict.challenger == status.champion:
        return None
    command = f"hone release {verdict.challenger} --who NAME --why REASON"
    return NextStep(command, "its verdict is PROMOTE, and a person has to release it")


def _serve(status: "Status") -> NextStep | None:
    if not status.champion or status.predictions:
        return None
    return NextStep("bentoml serve --host 127.0.0.1", f"{status.champion} has answered nothing yet")


def _label_more(status: "Status") -> NextStep | None:
    if not status.pool:
        return None
    return NextStep("hone label", f"{counted(status.pool, 'image')} are in the pool")


def _find_images(status: "Status") -> NextStep:
    return NextStep("hone ingest PATH", "the pool is empty: more labels need more images")


RULES: tuple[Callable[["Status"], NextStep | None], ...] = (
    _mend_prefect, _resume, _ingest, _settle, _watch, _answer_drift, _wait_for_annotators,
    _first_label, _retrain, _more_audit, _cut_snapshot, _release, _serve, _label_more, _find_images,
)  # fmt: skip


def _busy(status: "Status") -> bool:
    return status.assigned > 0
