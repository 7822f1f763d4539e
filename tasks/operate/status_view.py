"""The status of a workspace as a page for the terminal."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from core.text import counted
from tasks.operate.status import OutcomeStanding, Status
from tasks.report.console import print_fields, print_line, relative_time

if TYPE_CHECKING:
    from tasks.operate.stuck_runs import PrefectOverview


def show_status(status: Status, title: str, console: Console | None = None) -> None:
    """Print how the loop stands, and what to do next."""
    screen = console or Console(highlight=False)
    print_fields(screen, title, list(status_lines(status)))
    if status.next is not None:
        print_line(screen, f"\nNext: {status.next}")


def status_lines(status: Status) -> Iterator[tuple[str, str]]:
    """The name and the text of each line."""
    yield "Images", _images(status)
    skipped = f", {status.skipped:,} skipped" if status.skipped else ""
    yield "Pool", f"{status.pool:,} can be chosen{skipped}"
    unsettled = f", {status.unsettled:,} with new answers" if status.unsettled else ""
    yield "Annotators", f"{status.assigned or 'none'} open{unsettled}"
    newest = f", {status.snapshots[-1]} is the newest snapshot" if status.snapshots else ""
    refused = f", {status.refused_answers:,} answers refused" if status.refused_answers else ""
    yield "Labels", f"{status.labels:,}{newest}{refused}"
    yield "Audit", _audit(status)
    now = datetime.fromisoformat(status.at)
    yield "Champion", _champion(status, now)
    if status.runtime is not None:
        yield "Runtime", status.runtime
    if status.beside is not None:
        yield "Beside it", status.beside
    if status.trial is not None:
        yield "Trial", status.trial
    if status.duel is not None:
        yield "Duel", f"{status.duel.duel_id}: {status.duel.sentence()}"
    verdict = status.last_verdict
    if verdict is not None:
        when = relative_time(verdict.decided_at, now)
        about = f"{verdict.outcome} for {verdict.challenger}, {when}"
        more = "; `hone verdict` shows the rest" if len(verdict.reasons) > 1 else ""
        yield "Verdict", f"{about}: {''.join(verdict.reasons[:1])}{more}"
    yield "Traffic", _traffic(status, now)
    if (calls := status.callbacks) is not None:
        waiting, gone = f"{calls.waiting:,} wait", f"{calls.given_up:,} given up"
        yield "Callbacks", f"{calls.delivered:,} labels returned, {waiting}, {gone}"
    if status.outcomes is not None:
        yield "Outcomes", _outcomes(status.outcomes)
    if status.incident is not None:
        yield "Incident", f"{status.incident}; `hone why` and `hone incidents` say more"
    if status.halt is not None:
        when = relative_time(status.halt.halted_at, now)
        yield "Halted", f"{status.halt.policy}, {when}, by {status.halt.who}: {status.halt.why}"
    if status.alerts.open or status.alerts.failing:
        yield "Alerts", _alerts(status, now)
    if status.prefect is not None:
        yield "Prefect", _prefect(status.prefect, now)


def _images(status: Status) -> str:
    served = f", {status.served_samples:,} of them from traffic" if status.served_samples else ""
    count = sum(status.refused.values())
    refused = f"; {counted(count, 'file')} refused (`hone refused`)" if count else ""
    known = f"; slices by {', '.join(status.metadata)}" if status.metadata else ""
    return f"{status.samples:,}{served}{refused}{known}"


def _audit(status: Status) -> str:
    progress = status.audit_progress
    if progress.verdict_possible:
        labels = f"{progress.labelled:,} labels, a verdict needs {progress.needed:,}"
        return f"{labels}; {progress.reported:,} more for reports"
    open_ = f"; {progress.open:,} open" if progress.open else ""
    missing = (
        f"; {progress.missing:,} to be asked for by the next rounds" if progress.missing else ""
    )
    if progress.exhausted:  # rounds alone cannot get there
        missing = f"; of the {progress.missing:,} missing {progress.left:,} can be asked for: "
        missing += "ingest more images"
    return f"{progress.labelled:,} of the {progress.needed:,} labels for a verdict{open_}{missing}"


def _champion(status: Status, now: datetime) -> str:
    if status.champion is None or status.champion_since is None:
        return "none yet"
    since = f"released {relative_time(status.champion_since, now)}"
    accuracy = status.champion_accuracy
    if accuracy is None:
        return f"{status.champion}, never measured, {since}"
    traffic = status.champion_traffic_accuracy
    parts = [f"accuracy {accuracy}", *([str(traffic)] if traffic else []), since]
    return ", ".join([status.champion, *parts])


def _traffic(status: Status, now: datetime) -> str:
    unchecked = ", newer ones are not checked yet" if status.undrained_segments else ""
    text = f"{counted(status.predictions, 'prediction')}{unchecked}"
    decision = status.last_decision
    if decision is None:
        return text
    return (
        f"{text}; last decision {relative_time(decision.decided_at, now)}: "
        f"{decision.step or decision.action}, {decision.reason}"
    )


def _alerts(status: Status, now: datetime) -> str:
    parts = [f"{status.alerts.open} open (`hone alerts`)"] if status.alerts.open else []
    parts += [
        f"{one.name} failed {counted(one.attempts, 'time')} since {relative_time(one.since, now)}: "
        f"{one.error}"
        for one in status.alerts.failing
    ]
    if not status.channels:
        parts.append("HONE_ALERTS names no channel, so that nobody is sent them")
    return "; ".join(parts)


def _outcomes(outcomes: OutcomeStanding) -> str:
    counts, accuracy = outcomes.counts, outcomes.accuracy
    parts = [f"{counts.judging:,} truths confirmed, {counts.training:,} weak"]
    parts += [f"{counts.disputed:,} disputed"] if counts.disputed else []
    parts += [f"{counts.unknown_class:,} of no class"] if counts.unknown_class else []
    parts += [f"{counts.waiting:,} about unknown predictions"] if counts.waiting else []
    if accuracy is not None:
        of = f"{accuracy.rows:,} served in {outcomes.days} days"
        parts.append(f"the champion's accuracy is {accuracy} on {of}")
    return ", ".join(parts)


def _prefect(overview: "PrefectOverview", now: datetime) -> str:
    if overview.problem:
        return overview.problem
    parts = []
    if overview.stuck_since:
        names = ", ".join(stuck.run.name for stuck in overview.stuck[:3])
        since = relative_time(overview.stuck_since, now)
        parts.append(f"{counted(len(overview.stuck), 'run')} stuck, the first {since}: {names}")
    if overview.late_since:
        since = relative_time(overview.late_since, now)
        parts.append(f"{counted(overview.late, 'run')} late, the first due {since}")
    parts += [f"no worker polls the pool {pool}" for pool in overview.unpolled]
    return "; ".join(parts) or "no run is stuck or late"
