"""How a workspace stands: counts, the champion, the last decision, and what to do next."""

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from core.database import now
from core.intervals import Interval
from labeling.ledger.audit_progress import AuditProgress, load_audit_progress
from labeling.ledger.metadata import metadata_columns
from labeling.ledger.overview import count_open, count_unsettled, ledger_counts, snapshot_names
from models.registry.halts import Halt, halt_of
from models.registry.overview import Accuracy, LastVerdict, registry_overview
from models.registry.releases import Mode, release_of, releasing_verdict
from models.registry.versions import PROMOTE
from models.rollout.standing import TrialStanding
from models.runtimes.choice import choices, model_folder
from models.runtimes.policy import Policy
from models.serving.callback_store import CallbackCounts, callback_counts
from models.serving.prediction_store import count_predictions, undrained_segments
from models.watching import outcome_queries
from models.watching.alerts import AlertOverview, alert_overview
from models.watching.decisions import DecisionRecord, newest_decision, open_drift
from models.watching.feedback_spool import undrained_feedback
from models.watching.incidents import open_incident_of
from models.watching.outcome_queries import OutcomeCounts
from models.watching.performance import performance
from tasks.context import Context, alert_channels
from tasks.operate.duel_standing import DuelStanding, duel_standing
from tasks.operate.next_step import NextStep, next_step
from tasks.operate.trial_standing import standing_of_trial
from tasks.scenes import share_of_scenes

if TYPE_CHECKING:
    from tasks.operate.stuck_runs import PrefectOverview

OUTCOME_DAYS = 30  # of the accuracy by truths that is shown


@dataclass(frozen=True)
class OutcomeStanding:
    """How many truths about served images there are, and how right the champion was by them."""

    counts: OutcomeCounts
    accuracy: Interval | None  # of what was served in OUTCOME_DAYS days
    days: int


@dataclass(frozen=True)
class Status:
    """Counts and names that say how the loop stands."""

    samples: int
    served_samples: int  # of `samples`, from traffic
    refused: dict[str, int]  # files by reason
    pool: int
    assigned: int  # before annotators now
    unsettled: int  # samples with new answers that no label was settled from
    skipped: int
    labels: int  # in force
    audit: int  # samples drawn for the audit
    audit_progress: AuditProgress
    refused_answers: int
    snapshots: list[str]  # oldest first
    champion: str | None
    champion_accuracy: Accuracy | None
    champion_since: str | None
    last_verdict: LastVerdict | None
    predictions: int
    undrained_segments: int  # of traffic that is on the service's disk only
    last_decision: DecisionRecord | None
    at: str
    champion_traffic_accuracy: Accuracy | None = None
    duel: DuelStanding | None = None  # under way
    waiting_drift: DecisionRecord | None = None  # that no round answers yet
    incident: str | None = None  # the open one, as a sentence
    halt: Halt | None = None  # in force
    beside: str | None = None  # what answers beside the champion, as a sentence
    trial: str | None = None  # of a challenger, as a sentence
    metadata: list[str] = field(default_factory=list)  # columns on which verdicts look for a loss
    trained_snapshots: frozenset[str] = field(default=frozenset(), repr=False)
    alerts: AlertOverview = field(default_factory=AlertOverview)
    channels: int = 0  # of HONE_ALERTS
    prefect: "PrefectOverview | None" = None  # None: no server is configured
    runtime: str | None = None  # what serves the champion, as a sentence; None before a choice
    callbacks: CallbackCounts | None = None  # None where nobody asked for one
    outcomes: OutcomeStanding | None = None  # None without a truth about a served image
    next: NextStep | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        values = asdict(self)
        del values["trained_snapshots"]
        return values


def load_status(ctx: Context) -> Status:
    """How the workspace stands now, at the same cost however much is in it."""
    status = status_of(ctx.engine, audit_needed=ctx.policies.gate.min_rows)
    undrained = undrained_segments(ctx.engine, ctx.workspace.traffic)
    undrained += undrained_feedback(ctx.engine, ctx.workspace.traffic)
    names = [channel.name for channel in alert_channels(ctx.settings)]
    alerts = status.alerts.of(names)
    trial = standing_of_trial(ctx)
    status = replace(
        status,
        undrained_segments=undrained,
        alerts=alerts,
        channels=len(names),
        trial=_trial(ctx, trial, status.last_verdict) if trial else None,
    )
    with ctx.engine.connect() as connection:
        counts = callback_counts(connection)
    status = replace(status, callbacks=counts if any(vars(counts).values()) else None)
    status = replace(status, runtime=runtime_of(ctx, status.champion))
    if ctx.settings.prefect_api_url:
        from tasks.operate.stuck_runs import load_overview

        status = replace(status, prefect=load_overview(ctx.settings))
    return replace(status, next=next_step(status))


def _trial(ctx: Context, standing: TrialStanding, verdict: LastVerdict | None) -> str:
    """The trial under way in a sentence, with what is promoted and waits for a person's to end."""
    words, trial = standing.sentence(), standing.trial
    if trial.held_by is None or verdict is None or verdict.outcome != PROMOTE:
        return words
    version = verdict.challenger
    if version == trial.challenger or releasing_verdict(ctx.engine, version) is not None:
        return words
    return f"{words}; {version} is promoted and waits for {trial.held_by} to end that"


def status_of(engine: Engine, *, audit_needed: int) -> Status:
    """What the database has of it."""
    with engine.connect() as connection:
        counts = ledger_counts(connection)
        registry = registry_overview(connection)
        champion = registry.champion
        return Status(
            samples=counts.samples,
            served_samples=counts.served_samples,
            refused=counts.refused,
            pool=counts.pool,
            assigned=count_open(connection),
            unsettled=count_unsettled(connection),
            skipped=counts.skipped,
            labels=counts.labels,
            audit=counts.audit,
            audit_progress=load_audit_progress(connection, audit_needed),
            refused_answers=counts.refused_answers,
            snapshots=snapshot_names(connection),
            champion=champion.version if champion else None,
            champion_accuracy=champion.accuracy if champion else None,
            champion_traffic_accuracy=champion.traffic_accuracy if champion else None,
            champion_since=champion.released_at if champion else None,
            last_verdict=registry.last_verdict,
            predictions=count_predictions(connection),
            undrained_segments=0,
            last_decision=newest_decision(connection),
            at=now(),
            duel=duel_standing(connection),
            outcomes=_outcomes(connection, champion.version if champion else None),
            waiting_drift=open_drift(connection),
            incident=_incident(connection),
            halt=halt_of(connection),
            beside=_beside(connection),
            metadata=metadata_columns(connection),
            alerts=alert_overview(connection),
            trained_snapshots=registry.trained_snapshots,
        )


def _outcomes(connection: Connection, champion: str | None) -> OutcomeStanding | None:
    counts = outcome_queries.outcome_counts(connection)
    if not counts.total:
        return None
    since = (datetime.now(UTC) - timedelta(days=OUTCOME_DAYS)).isoformat()
    cells = outcome_queries.judged_counts(connection, champion, since=since) if champion else {}
    distinct = share_of_scenes(connection, champion) if champion and cells else 1.0
    measured = performance(cells, distinct=distinct)
    return OutcomeStanding(counts, measured.accuracy if measured else None, OUTCOME_DAYS)


def runtime_of(ctx: Context, champion: str | None) -> str | None:
    """What serves the champion by the newest choice, on whichever machine it was made."""
    if champion is None or ctx.settings.runtime == Policy.TORCH:
        return None
    newest = next(choices(model_folder(ctx.workspace.runtimes, champion)), None)
    return newest.sentence() if newest else None


def _beside(connection: Connection) -> str | None:
    """The challenger and the front model in a sentence; None without them."""
    release = release_of(connection)
    if release is None:
        return None
    parts = []
    if release.mode == Mode.CANARY:
        parts.append(f"{release.challenger} answers {release.share:g} % of the clients")
    elif release.mode == Mode.SHADOW:
        parts.append(f"{release.challenger} is compared in shadow")
    if release.front is not None:
        parts.append(f"{release.front} answers first, at {release.front_threshold:g} and above")
    since = f", since release {release.number} ({release.released_at[:16]} UTC, by {release.who})"
    return "; ".join(parts) + since if parts else None


def _incident(connection: Connection) -> str | None:
    """The open incident in a sentence; None without one."""
    incident = open_incident_of(connection)
    if incident is None:
        return None
    kind = f", {incident.kind}" if incident.kind else ""
    return f"{incident.incident_id} at {incident.step}{kind}, since {incident.opened_at[:16]} UTC"
