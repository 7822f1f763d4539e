"""The first part of the page: how the workspace stands, and what to do next."""

from core.intervals import Interval
from core.text import counted
from models.registry.overview import Accuracy
from tasks.report.console import relative_time
from tasks.report.html.elements import Html, code, element, joined
from tasks.report.html.gather import Facts
from tasks.report.html.words import fact, fact_list, measured, missing, section


def summary(facts: Facts) -> Html:
    """The champion with its accuracy, the labels, the traffic, and the next step."""
    status = facts.status
    refused = sum(status.refused.values())
    served = f"{status.served_samples:,} of them from traffic"
    newest = status.snapshots[-1] if status.snapshots else "no snapshot yet"
    halted = []
    if facts.halt is not None:
        why = f"by {facts.halt.who}: {facts.halt.why}"
        halted = [fact("Service", element("span", "halted", class_="bad"), why)]
    parts = [
        *halted,
        fact("Champion", *_champion(facts)),
        *_accuracies(facts),
        fact("Labels in force", element("b", f"{status.labels:,}"), newest),
        fact("Images", f"{status.samples:,}", served),
        fact("Pool", f"{status.pool:,}", f"{status.assigned or 'none'} before annotators"),
        fact("Audit", f"{status.audit_progress.labelled:,} labels",
             f"a verdict needs {status.audit_progress.needed:,}"),
        fact("Served predictions", f"{status.predictions:,}", _unread(facts)),
        fact("Refused", counted(refused, "file"), "hone refused" if refused else ""),
    ]  # fmt: skip
    return section("summary", "How it stands", _next(facts), fact_list(*parts))


def _next(facts: Facts) -> Html:
    step = facts.status.next
    if step is None:
        return Html()
    return element("p", joined(["Next: ", code(step.command), f" — {step.reason}"]), class_="next")


def _champion(facts: Facts) -> tuple[object, str]:
    status = facts.status
    if status.champion is None or status.champion_since is None:
        return missing("none yet"), ""
    since = f"released {relative_time(status.champion_since, facts.now)}"
    return element("b", status.champion), since


def _accuracies(facts: Facts) -> list[Html]:
    status = facts.status
    known = (
        ("Accuracy", status.champion_accuracy),
        ("Accuracy on the traffic", status.champion_traffic_accuracy),
    )
    shown = [fact(name, _accuracy(one)) for name, one in known if one is not None]
    if (served := facts.outcomes.report.whole) is not None:
        of = f"{served.rows:,} served images with a confirmed truth"
        shown.append(fact("Accuracy in service", measured(served.accuracy, of)))
    if status.champion is not None and not shown:
        return [fact("Accuracy", missing("never measured: `hone retrain` judges a model"))]
    return shown


def _accuracy(accuracy: Accuracy) -> Html:
    one = Interval(accuracy.value, accuracy.low, accuracy.high, accuracy.rows)
    gate = ", which verdicts use" if accuracy.used_by_gate else ""
    return measured(one, f"{accuracy.rows:,} audit images of the {accuracy.population}{gate}")


def _unread(facts: Facts) -> str:
    count = facts.status.undrained_segments
    return "newer ones wait for `hone watch`" if count else ""
