"""The signals about what the front model of a cascade answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from models.serving.traffic_window import NewTraffic, new_traffic
from models.watching.outcome_signals import outcome_signals
from models.watching.signals import Signal, WatchPolicy, Window
from tasks.context import Context
from tasks.predictions import load_served
from tasks.watch.cascade import Division
from tasks.watch.judged import new_judged
from tasks.watch.reference import load_reference
from tasks.watch.window import WatchedTraffic, draw_window

FRONT = "front"  # begins the names of the signals about its part; names its state
OUTCOMES = "outcomes"  # of the states of its part

Detect = Callable[
    [Window, WatchedTraffic, Mapping[str, Any], WatchPolicy], tuple[list[Signal], dict[str, Any]]
]


def front_traffic(
    connection: Connection, division: Division, states: Mapping[str, Any], least: int
) -> NewTraffic | None:
    """What the front model answered since it was looked at; None of too little to test."""
    if division.front is None:
        return None
    state = states.get(FRONT, {})
    after = int(state.get("last_seq", 0)) if state.get("of") == division.as_json else 0
    new = new_traffic(connection, division.front, after, since=division.since)
    return new if new.rows >= max(1, least) else None


def front_signals(
    ctx: Context,
    division: Division,
    new: NewTraffic | None,
    states: Mapping[str, Any],
    policy: WatchPolicy,
    detect: Detect,
) -> tuple[list[Signal], dict[str, Any]]:
    """The signals about the front model's part, and the states with its next one.

    They count in the same budget as the others; rows that moved are shown of the champion's part.
    """
    if division.front is None:
        return [], {name: state for name, state in states.items() if name != FRONT}
    state = states.get(FRONT, {})
    if state.get("of") != division.as_json:
        state = {"of": division.as_json}
    try:
        loaded = load_served(ctx, division.front)
    except (OSError, ValueError):  # the service has none either, and shows why
        return [], {**states, FRONT: state}
    reference = load_reference(ctx, loaded, division).window
    made, detectors = list[Signal](), state.get("detectors", {})
    traffic = None
    if new is not None:
        traffic = draw_window(ctx, loaded, new, policy.window)
        made, detectors = detect(reference, traffic, detectors, policy)
        state = {**state, "last_seq": new.last_seq}
    with ctx.engine.connect() as connection:
        judged, truths = new_judged(connection, loaded, int(state.get("truths", 0)))
    of_outcomes, outcomes = outcome_signals(
        reference,
        judged,
        detectors.get(OUTCOMES, {}),
        policy=policy,
        served=traffic.window if traffic else None,
    )
    signals = [
        replace(one, name=f"{FRONT} {one.name}", exemplars=()) for one in (*made, *of_outcomes)
    ]
    state = {**state, "truths": truths, "detectors": {**detectors, OUTCOMES: outcomes}}
    return signals, {**states, FRONT: state}
