"""What people hear of an incident: that it began, that it needs a person, and a halt."""

from collections.abc import Iterator

from sqlalchemy import Connection

from core.text import counted
from models.registry.halts import last_halt
from models.watching.alerts import Alert, Kind, raise_alert
from models.watching.decisions import Evaluation
from models.watching.ladder import Step

SIGNALS = 5  # in an alert, the strongest
HEADLINES = {  # of the steps at which somebody is told
    Step.LABEL: "the traffic has drifted, labels are asked for",
    Step.RETRAIN: "the traffic has drifted, a training is due",
    Step.ALERT: "the traffic has drifted, a person is needed",
    Step.HALT: "the service is halted",
}
COMMANDS = {
    Step.LABEL: "hone label",
    Step.RETRAIN: "hone retrain",
    Step.ALERT: "hone why",
    Step.HALT: "hone why, then hone resume --who NAME --why REASON",
}


def alert_incident(
    connection: Connection, made: Evaluation, incident_id: str | None, *, opens: bool
) -> str | None:
    """Raise the alert of an incident in the transaction of the decision; None if there is none.

    An open incident is told once for each step, and of each halt: a service that a person resumed
    can halt again. `close_incident` tells of its end.
    """
    step = Step(made.step)
    if (
        incident_id is None
        or step not in HEADLINES
        or not (opens or step in (Step.ALERT, Step.HALT))
    ):
        return None
    kind = f" ({made.kind})" if made.kind else ""
    halt = last_halt(connection) if step == Step.HALT else None
    alert = Alert(
        about=incident_id,
        kind=Kind.HALT if step == Step.HALT else Kind.INCIDENT if opens else Kind.DRIFT,
        key=str(step) if halt is None else f"{step} {halt.number}",
        title=f"{incident_id}: {HEADLINES[step]}{kind}",
        body="\n".join(_lines(made)),
        command=COMMANDS[step],
        exemplars=tuple(made.exemplars),
    )
    return raise_alert(connection, alert)


def _lines(made: Evaluation) -> Iterator[str]:
    """The decision with its numbers, for somebody who has nothing else before them."""
    yield made.reason
    yield f"model {made.model}, predictions {made.first_seq:,} to {made.last_seq:,}"
    if made.kind:
        yield f"kind of drift: {made.kind}"
    strongest = sorted(made.signals, key=lambda one: one.accumulated, reverse=True)
    for signal in strongest[:SIGNALS]:
        number = "" if signal.value is None else f" {signal.value:.3g}"
        yield f"{signal.name}{number}: {signal.outcome}, {signal.meaning}"
    for name, value in made.estimate.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield f"{name.replace('_', ' ')}: {one}"
    if labels := made.cost.get("labels"):
        yield f"cost: {counted(labels, 'label')}"
