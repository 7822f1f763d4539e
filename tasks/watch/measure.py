"""What a check measures: the signals of a window, combined against the alarm budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from models.serving.traffic_window import NewTraffic, new_traffic
from models.watching import DETECTORS
from models.watching.decisions import WatchState, count_checks, load_state
from models.watching.evidence import Combined, combine, restarted
from models.watching.groups import groups_of
from models.watching.signals import Family, Shift, Signal, WatchPolicy, Window
from tasks.context import Context
from tasks.predictions import load_version
from tasks.watch.reference import Reference, load_reference
from tasks.watch.window import WatchedTraffic, draw_window

if TYPE_CHECKING:
    pass

BUDGET_DAYS = 90
LEAST_REFERENCE = 10  # rows: with fewer no p-value is below .1
REFERENCE = "reference"  # in the state: what the evidence was gathered against


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
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by detector
    missing: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether a signal could tell."""
        return any(one.outcome != Shift.UNKNOWN for one in self.signals)


def measure(ctx: Context, model: str, policy: WatchPolicy) -> Measured:
    """The signals of what was served since the last check; nothing is recorded."""
    with ctx.engine.connect() as connection:
        before = load_state(connection, model)
        new = new_traffic(connection, model, before.last_seq)
        checks = count_checks(connection, _quarter_began())
    if new.rows < policy.min_rows:
        few = f"{new.rows} images served since the last check, {policy.min_rows} are needed"
        states = before.state.get("detectors", {})
        combined = combine([], policy, checks)
        return Measured(model, new, before, combined, states=states, missing=(few,))
    try:
        loaded = load_version(ctx, model)
    except (OSError, ValueError) as error:
        return _without_model(model, new, before, policy, checks, str(error))
    traffic = draw_window(ctx, loaded, new, policy.window)
    reference = load_reference(ctx, loaded)
    signals, states = _detect(reference, traffic, before, policy)
    return Measured(
        model,
        new,
        before,
        combine(signals, policy, checks + 1),
        tuple(signals),
        traffic,
        reference,
        states,
        reference.missing,
    )


def restarted_states(states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The states of detectors whose evidence was acted on: they gather it anew."""
    return {
        name: state if name == REFERENCE else restarted(state) for name, state in states.items()
    }


def _detect(
    reference: Reference, traffic: WatchedTraffic, before: WatchState, policy: WatchPolicy
) -> tuple[list[Signal], dict[str, Any]]:
    """The signals of the policy's detectors and their next states.

    Against another reference than before (traffic that is known since) evidence starts anew.
    """
    known = {"known": list(reference.known)}
    states: dict[str, Any] = dict(before.state.get("detectors", {}))
    if states.get(REFERENCE, known) != known:
        states = restarted_states(states)
    doubt = _doubt(reference.window, traffic.window, policy)
    window = traffic.window
    if doubt is None:  # frames of a scene count once, like an image that came twice
        groups = groups_of(reference.window.embeddings, window.embeddings, window.groups)
        window = replace(window, groups=groups)
    if doubt:
        rows = len(traffic.rows)
        return [unknown_signal(name, doubt, rows) for name in policy.detectors], states
    signals: list[Signal] = []
    for name in policy.detectors:
        rng = np.random.default_rng([traffic.new.after_seq, traffic.new.last_seq])
        try:
            made, states[name] = DETECTORS[name](
                reference.window, window, states.get(name, {}), policy=policy, rng=rng
            )
        except Exception as error:  # one detector that fails must not switch off the others
            made = [unknown_signal(name, f"it failed: {error}", len(traffic.rows))]
        signals += made
    return signals, {**states, REFERENCE: known}


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
        name=name,
        family=Family.INPUTS,
        outcome=Shift.UNKNOWN,
        value=None,
        threshold=None,
        evidence=0.0,
        accumulated=0.0,
        p_value=None,
        rows=rows,
        groups=rows,
        meaning=why,
    )


def _without_model(
    model: str, new: NewTraffic, before: WatchState, policy: WatchPolicy, checks: int, why: str
) -> Measured:
    """What is left when the model cannot be read: its traffic waits, and nothing is tested."""
    signals = tuple(unknown_signal(name, why) for name in policy.detectors)
    states = before.state.get("detectors", {})
    combined = combine([], policy, checks)
    return Measured(model, new, before, combined, signals, states=states, missing=(why,))


def _quarter_began() -> str:
    return (datetime.now(UTC) - timedelta(days=BUDGET_DAYS)).isoformat(timespec="microseconds")
