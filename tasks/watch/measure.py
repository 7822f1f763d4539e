"""What a check measures: the signals of a window and of outcomes, against the alarm budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from models.serving.traffic_window import NewTraffic, new_traffic
from models.watching import DETECTORS
from models.watching.decisions import WatchState, count_checks, load_state
from models.watching.evidence import Combined, combine, known_weights, restarted
from models.watching.groups import groups_of
from models.watching.outcome_signals import Judged, outcome_signals
from models.watching.service_signals import Requests, service_signals
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window
from tasks.context import Context
from tasks.predictions import load_served
from tasks.watch.cascade import Division, division_of
from tasks.watch.front import FRONT, front_signals, front_traffic
from tasks.watch.judged import has_new_truths, new_judged
from tasks.watch.reference import Reference, load_reference, without_detail
from tasks.watch.service_counters import counted
from tasks.watch.window import WatchedTraffic, draw_window

if TYPE_CHECKING:
    from models.registry.model_store import LoadedModel

BUDGET_DAYS = 90
LEAST_REFERENCE = 10  # rows: with fewer no p-value is below .1
OF_IMAGES = (Family.INPUTS, Family.OUTPUTS)
# Names in the state beside those of detectors.
REFERENCE = "reference"  # what the evidence was gathered against
SERVICE, OUTCOMES, COUNTERS = "service", "outcomes", "counters"
WEIGHTS = "weights"  # of all signals in the evidence
Signals = tuple[list[Signal], dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """The signals of one check; without a window there was too little traffic to test."""

    model: str
    new: NewTraffic
    before: WatchState
    combined: Combined
    signals: tuple[Signal, ...] = ()
    traffic: WatchedTraffic | None = None
    reference: Reference | None = None
    judged: Judged | None = None
    truths: int = 0  # the number of the last truth that was looked at
    states: Mapping[str, Any] = field(default_factory=dict)  # by detector
    missing: tuple[str, ...] = ()
    front: str | None = None  # the front model of a cascade

    @property
    def share_in_front(self) -> float:
        """The share of the answers that the front model of a cascade gave."""
        in_front = self.new.others.get(self.front, 0) if self.front else 0
        return in_front / (in_front + self.new.rows) if in_front else 0.0

    @property
    def is_measured(self) -> bool:
        """Whether a signal about the images or what the model makes of them could tell."""
        return any(one.family in OF_IMAGES and one.outcome != Shift.UNKNOWN for one in self.signals)

    @property
    def is_blind(self) -> bool:
        """Whether there are signals that should tell, and none can."""
        of_images = any(one.family in OF_IMAGES for one in self.signals)
        silent = all(one.outcome == Shift.UNKNOWN for one in self.signals)
        return bool(self.signals) and (silent or (of_images and not self.is_measured))

    @property
    def declined(self) -> bool:
        """Whether a signal about outcomes shows a decline by its own threshold: no alarm yet."""
        return any(
            one.family == Family.OUTCOMES and one.outcome == Shift.DRIFT for one in self.signals
        )


@dataclass(frozen=True)
class Traffic:
    """What champion and front model answered since they were looked at, and who answers what."""

    new: NewTraffic
    in_front: NewTraffic | None
    division: Division


def measure(ctx: Context, model: str, policy: WatchPolicy) -> Measured:
    """The signals of what was served since the last check; nothing is recorded."""
    with ctx.engine.connect() as connection:
        before = load_state(connection, model)
        division = division_of(connection)
        new = new_traffic(connection, model, before.last_seq, since=division.since)
        checks = count_checks(connection, _quarter_began())
        truths = int(before.state.get("truths", 0))
        has_truths = has_new_truths(connection, truths)
        states = before.state.get("detectors", {})
        in_front = front_traffic(connection, division, states, policy.min_rows)
    missing: tuple[str, ...] = ()
    if new.rows < policy.min_rows:
        few = f"{new.rows} images served since the last check, {policy.min_rows} are needed"
        missing = (few,)
        if not has_truths and in_front is None:
            combined = combine([], policy, checks)
            return Measured(
                model,
                new,
                before,
                combined,
                truths=truths,
                states=states,
                missing=missing,
                front=division.front,
            )
    try:
        loaded = load_served(ctx, model)
    except (OSError, ValueError) as error:
        why = without_detail(f"{model} cannot be read", error)
        signals = tuple(unknown_signal(name, why) for name in policy.detectors)
        combined = combine([], policy, checks)
        return Measured(
            model,
            new,
            before,
            combined,
            signals,
            truths=truths,
            states=states,
            missing=missing,
            front=division.front,
        )
    return _measure(ctx, loaded, Traffic(new, in_front, division), before, policy, checks, missing)


def _measure(
    ctx: Context,
    loaded: "LoadedModel",
    served: Traffic,
    before: WatchState,
    policy: WatchPolicy,
    checks: int,
    missing: tuple[str, ...],
) -> Measured:
    """The signals with the model at hand; of a window when there is enough traffic."""
    new, division = served.new, served.division
    reference = load_reference(ctx, loaded, division)
    with ctx.engine.connect() as connection:
        judged, truths = new_judged(connection, loaded, int(before.state.get("truths", 0)))
    states = _of_reference(before.state.get("detectors", {}), reference, division)
    traffic = None
    signals: list[Signal] = []
    if not missing:
        traffic = _grouped(draw_window(ctx, loaded, new, policy.window), reference.window)
        requests, counters = counted(ctx.settings, states.get(COUNTERS, {}))
        signals, states = _detect(reference.window, traffic, states, policy, requests)
        states = {**states, COUNTERS: counters}
    made, states[OUTCOMES] = outcome_signals(
        reference.window,
        judged,
        states.get(OUTCOMES, {}),
        policy=policy,
        served=traffic.window if traffic else None,
    )
    signals += made
    made, states = front_signals(ctx, division, served.in_front, states, policy, _detect_in_front)
    signals += made
    checks += bool(traffic or any(one.rows for one in signals))
    states[WEIGHTS] = known_weights(states.get(WEIGHTS, {}), signals, policy)
    if reference.window.labels is None or not (reference.window.labels >= 0).any():
        truths = int(before.state.get("truths", 0))  # they judge once there is something to compare
    return Measured(
        loaded.version,
        new,
        before,
        combine(signals, policy, checks, states[WEIGHTS]["of"]),
        tuple(signals),
        traffic,
        reference,
        judged,
        truths,
        states,
        (*missing, *reference.missing),
        division.front,
    )


def restarted_states(states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The states of detectors whose evidence was acted on: they gather it anew."""
    after = {
        name: state if name in (REFERENCE, COUNTERS, WEIGHTS) else restarted(state)
        for name, state in states.items()
    }
    if FRONT in states:
        inner = restarted_states(states[FRONT].get("detectors", {}))
        after[FRONT] = {**states[FRONT], "detectors": inner}
    return after


def seed_of(new: NewTraffic) -> np.random.Generator:
    """The same chance for the same traffic, so that a check that is repeated comes out alike."""
    return np.random.default_rng([new.after_seq, new.last_seq])


def _of_reference(
    states: Mapping[str, Any], reference: Reference, division: Division
) -> dict[str, Any]:
    """The states; against another reference (traffic that is known since) evidence starts anew."""
    known = {"known": list(reference.known), **division.as_json}
    same = states.get(REFERENCE, known) == known
    return {**(states if same else restarted_states(states)), REFERENCE: known}


def _detect(
    reference: Window,
    traffic: WatchedTraffic,
    states: Mapping[str, Any],
    policy: WatchPolicy,
    requests: Requests | str,
) -> Signals:
    """The signals of the policy's detectors and of the service, and their next states."""
    signals, after = _detect_images(reference, traffic, states, policy)
    of_service, after[SERVICE] = service_signals(
        reference,
        traffic.window,
        states.get(SERVICE, {}),
        policy=policy,
        rng=seed_of(traffic.new),
        lag_hours=_lag(traffic.new),
        requests=requests,
    )
    return [*signals, *of_service], after


def _detect_images(
    reference: Window, traffic: WatchedTraffic, states: Mapping[str, Any], policy: WatchPolicy
) -> Signals:
    """The signals of the policy's detectors, and their next states."""
    after, signals = dict(states), list[Signal]()
    doubt = _doubt(reference, traffic.window, policy)
    for name in policy.detectors:
        if doubt:
            signals.append(unknown_signal(name, doubt, len(traffic.rows)))
            continue
        try:
            made, after[name] = DETECTORS[name](
                reference,
                traffic.window,
                states.get(name, {}),
                policy=policy,
                rng=seed_of(traffic.new),
            )
        except Exception as error:  # one detector that fails must not switch off the others
            made = [unknown_signal(name, without_detail("it failed", error), len(traffic.rows))]
        signals += made
    return signals, after


def _detect_in_front(
    reference: Window, traffic: WatchedTraffic, states: Mapping[str, Any], policy: WatchPolicy
) -> Signals:
    return _detect_images(reference, _grouped(traffic, reference), states, policy)


def _grouped(traffic: WatchedTraffic, reference: Window) -> WatchedTraffic:
    """The traffic with frames of one scene in one group, like an image that came twice."""
    window = traffic.window
    if not len(window) or window.embeddings.shape[1:] != reference.embeddings.shape[1:]:
        return traffic
    if len(reference) < LEAST_REFERENCE:
        return traffic
    groups = groups_of(reference.embeddings, window.embeddings, window.groups)
    return replace(traffic, window=replace(window, groups=groups))


def _lag(new: NewTraffic) -> float | None:
    """The hours since the oldest prediction that no check looked at."""
    if new.oldest_at is None:
        return None
    waited = datetime.now(UTC) - datetime.fromisoformat(new.oldest_at)
    return waited.total_seconds() / 3600


def _doubt(reference: Window, window: Window, policy: WatchPolicy) -> str | None:
    """Why no test of these rows would mean anything; None when one does."""
    for view in ("outputs", "embeddings"):
        expected, width = (getattr(each, view).shape[1] for each in (reference, window))
        if expected != width:
            return f"{view} have {width} columns in the window and {expected} in the reference"
    images = len(np.unique(window.groups))
    if images < policy.min_rows:
        aside = f", {window.broken} broken ones set aside" if window.broken else ""
        return f"{images} different images in the window{aside}, {policy.min_rows} are needed"
    if len(reference) < LEAST_REFERENCE:
        return f"{len(reference)} rows in the reference, {LEAST_REFERENCE} are needed"
    return None


def unknown_signal(name: str, why: str, rows: int = 0) -> Signal:
    """The signal of a detector that cannot tell, and why."""
    return Signal(
        name=name, family=Family.INPUTS, outcome=Shift.UNKNOWN, value=None, threshold=None,
        evidence=0.0, accumulated=0.0, p_value=None, rows=rows, groups=rows, meaning=why,
        weight=0.0,
    )  # fmt: skip


def _quarter_began() -> str:
    return (datetime.now(UTC) - timedelta(days=BUDGET_DAYS)).isoformat(timespec="microseconds")
