"""Whether the challenger is better, and whether it loses anything: by a duel, else by the audit.

Both say the same things (`DuelState`): the evidence of a gain, and for every population whether a
loss of the margin is excluded. Without a duel the gate rows decide in one exact test, which spends
its part of the life's alpha as a duel would.
"""

from core.intervals import Interval
from models.judging.alpha_spending import alpha_of
from models.judging.compare import difference_of, is_worse
from models.judging.criterion import Criterion, Status, bounds
from models.judging.duel import Counts, DuelPlan, DuelState
from models.judging.evidence import Mode
from models.judging.gate_evidence import Evidence, Rows
from models.judging.mcnemar import audit_state
from models.judging.verdict import GatePolicy, Outcome

MORE = "answers to a duel, or more audit labels"


def gain(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """Evidence of a gain on at least one population; `not-worse` asks only for no loss.

    Worse on a population, and better on none, is REJECT.
    """
    if evidence.champion is None:
        return []
    state = _state(evidence, policy)
    shown = state.outcome == Outcome.PROMOTE or (policy.mode == "better" and state.gained)
    status = Status.PASS if shown else Status.UNKNOWN
    if state.outcome == Outcome.REJECT:
        status = Status.FAIL
    what = [*(["a gain is shown"] if shown and state.outcome != Outcome.PROMOTE else []),
            *state.reasons]  # fmt: skip
    return [Criterion(
        "gain", status, "; ".join(what),
        value=state.log_evidence, threshold=state.threshold, rows=state.answers,
        population=" and ".join(state.populations), rejects=True,
        remedy="" if status == Status.PASS else _remedy(evidence, state),
    )]  # fmt: skip


def loss(evidence: Evidence, policy: GatePolicy) -> list[Criterion]:
    """On every population a loss of `margin` or more is excluded.

    A significant loss on the gate rows holds, whatever a duel shows.
    """
    if evidence.champion is None:
        return []
    state = _state(evidence, policy)
    rows = dict(_populations(evidence, policy))
    names = dict.fromkeys([*state.populations, *rows])
    return [_loss(evidence, policy, name, state, rows.get(name)) for name in names]


def _state(evidence: Evidence, policy: GatePolicy) -> DuelState:
    """Where the duel stands; without one, what the gate rows show."""
    if evidence.duel is not None:
        return evidence.duel
    plan = DuelPlan(
        number=evidence.number,
        alpha=alpha_of(evidence.number, policy.life_alpha),
        mode=Mode(policy.mode),
        margin=policy.margin,
        min_gain=policy.min_gain,
        most_answers=0,
        strata=(),
        life_alpha=policy.life_alpha,
    )
    counts = {name: _counts(evidence, rows) for name, rows in _populations(evidence, policy)}
    return audit_state(plan, counts)


def _counts(evidence: Evidence, rows: Rows) -> Counts:
    challenger, champion = evidence.credits(rows)
    wins, losses = int((challenger > champion).sum()), int((challenger < champion).sum())
    return Counts(wins, len(rows) - wins - losses, losses)


def _populations(evidence: Evidence, policy: GatePolicy) -> list[tuple[str, Rows]]:
    """The populations that the policy names; with `both`, the traffic once it has enough rows."""
    return [
        (name, rows)
        for name, rows in evidence.rows.items()
        if policy.population == name
        or (policy.population == "both" and len(rows) >= policy.min_rows)
    ]


def _remedy(evidence: Evidence, state: DuelState) -> str:
    if evidence.duel is None:
        return MORE
    if state.outcome is not None:
        return "a challenger that differs by more: more labels to train on"
    return f"about {max(1, state.expected_answers - state.answers)} more answers to the duel"


def _loss(
    evidence: Evidence, policy: GatePolicy, name: str, state: DuelState, rows: Rows | None
) -> Criterion:
    view = state.populations.get(name)
    interval = view.gain if view is not None else _difference(evidence, policy, rows)
    worse = rows is not None and is_worse(*evidence.credits(rows), alpha=policy.alpha)
    if worse or (view is not None and (view.worse or view.lost)):
        status, what = Status.FAIL, f"worse on the {name}"
        remedy = f"labels of what it lost on the {name} to train on"
    elif view is not None and view.safe:
        status, what = Status.PASS, f"a loss of {policy.margin:g} is excluded on the {name}"
        remedy = ""
    else:
        status, remedy = Status.UNKNOWN, MORE
        what = f"a loss of {policy.margin:g} or more cannot be excluded on the {name}"
    numbers = {}
    if interval is not None:
        what += f": {interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        numbers = bounds(interval)
    return Criterion(
        "loss", status, what, population=name, threshold=-policy.margin, remedy=remedy, **numbers
    )


def _difference(evidence: Evidence, policy: GatePolicy, rows: Rows | None) -> Interval | None:
    return None if rows is None else difference_of(*evidence.credits(rows), alpha=policy.alpha)
