"""All that the page of a workspace shows, read once: bounded, however long the history is."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from labeling.ledger import page_queries, report_queries
from labeling.ledger.page_queries import PastDuel, PastSnapshot, Share
from labeling.ledger.report_queries import AssignmentCounts
from models.registry.halts import Halt, halt_of
from models.registry.history import PastRelease, PastVerdict, past_releases, past_verdicts
from models.serving.traffic_history import TrafficSample, traffic_since
from models.watching.decision_history import PastCheck, past_checks
from models.watching.decisions import DecisionRecord, newest_decisions
from models.watching.incidents import Incident, list_incidents
from tasks.context import Context
from tasks.operate.status import Status, load_status
from tasks.report.budget_record import BudgetRecord, load_budget
from tasks.report.html.alerts_section import AlertFacts, load_alerts
from tasks.report.html.exemplars import Exemplar, load_exemplars
from tasks.report.html.judged import JudgedRows, judged_rows
from tasks.report.html.outcomes_section import OutcomeFacts, load_outcomes

MOST_CHECKS = 800  # one an hour for a month
MOST_DECISIONS, MOST_INCIDENTS = 12, 6
MOST_RELEASES = MOST_VERDICTS = 40
MOST_DUELS = MOST_SNAPSHOTS = 20


@dataclass(frozen=True)
class LabelQuality:
    """How good the answers are, in brief."""

    gold: Share  # right answers to images whose class is known
    agreed: Share  # samples on which all of several annotators agree
    assignments: AssignmentCounts
    refused: dict[str, int]  # answers by reason


@dataclass(frozen=True)
class Facts:
    """What the page shows."""

    title: str
    days: int  # that the parts about traffic look back
    since: str
    status: Status
    traffic: TrafficSample
    checks: list[PastCheck]  # oldest first
    decisions: list[DecisionRecord]  # the newest, newest first
    incidents: list[Incident]  # the newest, newest first
    exemplars: list[Exemplar]  # of the newest decision that names images
    halt: Halt | None
    alarms_per_quarter: float  # the budget
    releases: list[PastRelease]
    verdicts: list[PastVerdict]
    duels: list[PastDuel]
    snapshots: list[PastSnapshot]
    judged: JudgedRows | None  # the challenger of the newest verdict; None before the first
    champion_judged: JudgedRows | None
    quality: LabelQuality
    budget: BudgetRecord | None
    alerts: AlertFacts
    outcomes: OutcomeFacts

    @property
    def now(self) -> datetime:
        """When the page was made."""
        return datetime.fromisoformat(self.status.at)


def gather(ctx: Context, *, days: int) -> Facts:
    """The facts of the workspace, those of its traffic for the last days."""
    status = load_status(ctx)
    since = (datetime.fromisoformat(status.at) - timedelta(days=days)).isoformat()
    with ctx.engine.connect() as connection:
        verdicts = past_verdicts(connection, most=MOST_VERDICTS)
        facts = Facts(
            title=ctx.workspace.title,
            days=days,
            since=since,
            status=status,
            traffic=traffic_since(connection, since),
            checks=past_checks(connection, since, most=MOST_CHECKS),
            decisions=list(newest_decisions(connection, MOST_DECISIONS)),
            incidents=list_incidents(connection, MOST_INCIDENTS),
            exemplars=[],
            halt=halt_of(connection),
            alarms_per_quarter=ctx.policies.watch.alarms_per_quarter,
            releases=past_releases(connection, most=MOST_RELEASES),
            verdicts=verdicts,
            duels=page_queries.past_duels(connection, most=MOST_DUELS),
            snapshots=page_queries.past_snapshots(connection, most=MOST_SNAPSHOTS),
            judged=None,
            champion_judged=None,
            quality=LabelQuality(
                page_queries.right_on_gold(connection),
                page_queries.agreed_samples(connection),
                report_queries.count_assignments(connection),
                report_queries.refused_by_reason(connection),
            ),
            budget=load_budget(ctx.workspace.runs),
            alerts=load_alerts(connection, ctx.settings),
            outcomes=load_outcomes(ctx, connection, days=days),
        )
    return _with_judged(ctx, _with_exemplars(ctx, facts))


def _with_exemplars(ctx: Context, facts: Facts) -> Facts:
    named = next((one.exemplars for one in facts.decisions if one.exemplars), ())
    return replace(facts, exemplars=load_exemplars(ctx, named))


def _with_judged(ctx: Context, facts: Facts) -> Facts:
    newest = facts.verdicts[0].challenger if facts.verdicts else None
    judged = {
        version: judged_rows(ctx, version)
        for version in dict.fromkeys([newest, facts.status.champion])
        if version is not None
    }
    return replace(
        facts,
        judged=judged.get(newest) if newest else None,
        champion_judged=judged.get(facts.status.champion) if facts.status.champion else None,
    )
