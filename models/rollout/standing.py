"""Where the trial under way stands: what it has seen, what its tests say, what it waits for."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from models.judging.duel import Stratum
from models.registry.releases import Mode, release_rows
from models.registry.versions import judged_pair
from models.rollout.criteria import Criterion, criteria_of, updated
from models.rollout.evidence import Evidence
from models.rollout.observations import observations
from models.rollout.policy import ReleasePolicy
from models.rollout.steps import Move, NextMove, Progress, next_move
from models.rollout.store import (
    TrialCounts,
    TrialState,
    load_trial,
    mark_judged,
    new_answers,
    new_records,
    new_truths,
    save_trial,
    trial_counts,
)
from models.rollout.trial import Trial, current_trial
from models.serving.traffic_history import traffic_since

ALPHA = 0.05  # that the verdict's share of disagreement, or what is left over, is beyond its bound


@dataclass(frozen=True)
class TrialStanding:
    """Where a trial stands, and what follows."""

    trial: Trial
    progress: Progress
    counts: TrialCounts  # since the trial began
    criteria: tuple[Criterion, ...]
    expected: float | None  # share of disagreement
    verdict_id: str | None  # that promotes the challenger
    move: NextMove
    left: float | None = 1.0  # of the traffic, over from a front model, at least

    def sentence(self) -> str:
        """The standing in one line."""
        trial, counts = self.trial, self.counts
        where = str(trial.step) if trial.step == Mode.SHADOW else f"canary of {trial.share:g} %"
        share = "" if counts.share is None else f", {counts.share:.0%} of what it could see"
        compared = f"{counts.compared:,} images compared{share}, {counts.disagreements:,} differ"
        if counts.compared > counts.first:
            compared += f", {counts.compared - counts.first:,} had come before"
        if trial.step == Mode.CANARY:
            compared += f", {self.progress.requests:,} answered to clients"
        if trial.has_front:
            compared += f" (of what a front model left over: {self._left_over()})"
        since = f"{trial.challenger} in {where} for {self.progress.hours:.1f} hours"
        return f"{since}: {compared}; {self._next()}"

    def _left_over(self) -> str:
        if self.left is None:
            return "how much that is, is not known, so that only errors and latency can end it"
        return f"{self.left:.0%} of all at least, by which tolerances are divided"

    def _next(self) -> str:
        move = self.move
        if move.move == Move.ABORT:
            return f"the next check ends it: {'; '.join(move.why)}"
        if move.move == Move.ADVANCE:
            return f"the next check goes on to {move.step}"
        return f"waits for {', '.join(move.why)}, then {move.step}"

    def evidence(self) -> dict[str, Any]:
        """What the release record stores of it."""
        return {
            "trial": self.trial.began,
            "number": self.trial.number,
            "step": str(self.trial.step),
            "verdict": self.verdict_id,
            "hours": round(self.progress.hours, 3),
            "requests": self.progress.requests,
            "compared": self.counts.compared,
            "failed": self.counts.failed,
            "passed_over": self.counts.passed_over,
            "disagreements": self.counts.disagreements,
            "expected_disagreement": self.expected,
            "left_over": self.left,
            "criteria": [one.as_json() for one in self.criteria],
            "why": list(self.move.why),
        }


def trial_standing(
    connection: Connection,
    policy: ReleasePolicy,
    strata: Mapping[tuple[str, str], Sequence[Stratum]] | None = None,
) -> TrialStanding | None:
    """Where the trial under way stood at its last check; None without one."""
    trial = current_trial(release_rows(connection))
    return None if trial is None else _standing(connection, trial, policy, strata or {})


def check_trial(
    connection: Connection,
    policy: ReleasePolicy,
    strata: Mapping[tuple[str, str], Sequence[Stratum]] | None = None,
) -> TrialStanding | None:
    """Take what was recorded since the last check, store the evidence, and say what follows.

    In the caller's transaction; `strata` are those of duels by champion and challenger.
    """
    trial = current_trial(release_rows(connection))
    if trial is None:
        return None
    expected = _expected(connection, trial, strata or {})
    save_trial(connection, _advanced(connection, trial, policy, expected))
    return _standing(connection, trial, policy, strata or {})


def _advanced(
    connection: Connection, trial: Trial, policy: ReleasePolicy, expected: float | None
) -> TrialState:
    """The state of a trial after all that was recorded since."""
    state = load_trial(connection, trial.began)
    of: dict[str, Any] = {"challenger": trial.challenger, "since": trial.began}
    records = new_records(connection, **of, after=state.last_record)
    answers = new_answers(connection, **of, after=state.last_answer)
    truths = new_truths(connection, **of, after=state.last_truth)
    last_truth = int(truths["number"].max()) if len(truths) else state.last_truth
    mark_judged(connection, **of, after=state.last_truth, to=last_truth)
    evidence = updated(
        _evidence(state),
        observations(records, answers, truths, policy),
        policy,
        expected=expected,
        left=left_over(connection, trial),
    )
    return replace(
        state,
        last_record=int(records["seq"].max()) if len(records) else state.last_record,
        last_answer=int(answers["seq"].max()) if len(answers) else state.last_answer,
        last_truth=last_truth,
        evidence={name: one.as_json() for name, one in evidence.items()},
    )


def _evidence(state: TrialState) -> dict[str, Evidence]:
    return {name: Evidence.from_json(one) for name, one in state.evidence.items()}


def _standing(
    connection: Connection,
    trial: Trial,
    policy: ReleasePolicy,
    strata: Mapping[tuple[str, str], Sequence[Stratum]],
) -> TrialStanding:
    expected = _expected(connection, trial, strata)
    judged = judged_pair(connection, trial.champion, trial.challenger)
    step = trial_counts(connection, trial.challenger, since=trial.step_began)
    progress = Progress(
        step=str(trial.step),
        requests=step.first if trial.step == Mode.SHADOW else step.answered,
        hours=_hours_since(trial.step_at),
        passed_over=step.passed_over,
        promoted=judged.promoted_by is not None,
        held_by=trial.held_by,
    )
    state, left = load_trial(connection, trial.began), left_over(connection, trial)
    criteria = criteria_of(
        _evidence(state), policy, number=trial.number, expected=expected, left=left
    )
    return TrialStanding(
        trial=trial,
        progress=progress,
        counts=trial_counts(connection, trial.challenger, since=trial.began),
        criteria=criteria,
        expected=expected,
        verdict_id=judged.promoted_by,
        move=next_move(progress, criteria, policy),
        left=left,
    )


def left_over(connection: Connection, trial: Trial) -> float | None:
    """The share of the traffic that a trial sees at least, behind a front model; None: not known.

    It is not known once the cascade was changed in the trial: its evidence is of different parts.
    """
    if not trial.has_front:
        return 1.0
    if trial.front is None:
        return None
    served = Counter(row.model for row in traffic_since(connection, trial.began_at).rows)
    left = served[trial.champion] + served[trial.challenger]
    bounds = Stratum("traffic", left + served[trial.front], left).share_bounds(ALPHA)
    return round(bounds[0], 6) or None


def _expected(
    connection: Connection,
    trial: Trial,
    strata: Mapping[tuple[str, str], Sequence[Stratum]],
) -> float | None:
    """The share of images on which the two differ, by the verdict, at most; None: it has none."""
    of_duel = strata.get((trial.champion, trial.challenger), ())
    if of_duel:
        return round(max(one.share_bounds(ALPHA)[1] for one in of_duel), 6)
    return disagreement_of(judged_pair(connection, trial.champion, trial.challenger).metrics)


def disagreement_of(metrics: Mapping[str, Any]) -> float | None:
    """A bound of the share of audit rows that two models answer differently; None without them.

    Rows on which both are wrong may differ, too.
    """
    rows, accuracy = int(metrics.get("rows") or 0), metrics.get("champion_accuracy")
    if not rows or accuracy is None:
        return None
    only_challenger, only_champion = (
        int(metrics.get(f"only_{name}_right", 0)) for name in ("challenger", "champion")
    )
    both_right = math.floor(accuracy * rows + 0.5) - only_champion
    differing = min(max(rows - both_right, only_challenger + only_champion), rows)
    return round(Stratum("audit", rows, differing).share_bounds(ALPHA)[1], 6)


def _hours_since(at: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds() / 3600
