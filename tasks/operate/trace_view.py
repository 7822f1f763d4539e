"""The way back of a prediction as a page for the terminal."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from tasks.operate.trace import Trace
from tasks.report.console import print_fields, print_line, print_table

OUTCOME_WORDS = ("who", "truth", "strength", "source", "received", "state")
NOT_SHOWN = {"sample", "answers"}  # printed by themselves


def show_trace(trace: Trace, console: Console | None = None) -> None:
    """Print each step from the answer of the service to the annotators."""
    screen = console or Console(highlight=False)
    print_fields(screen, "Prediction", _fields(trace.prediction))
    print_fields(screen, "Image", _fields(trace.image))
    if trace.image.sample is None:
        print_line(screen, "  not a sample yet: `hone ingest` takes over what was served")
    else:
        print_fields(screen, "", _fields(trace.image.sample))
    print_fields(screen, "Model", _fields(trace.model))
    if trace.verdict is None:
        print_line(screen, "  it was never released, and no canary")
    else:
        print_fields(screen, "Release", _fields(trace.verdict))
    if trace.snapshot is not None:
        print_fields(screen, "Snapshot", _fields(trace.snapshot))
    outcomes = [
        {"who": one.who, "truth": one.truth, "strength": one.strength, "source": one.source,
         "received": one.received_at, "state": "superseded" if one.superseded_by else "in force"}
        for one in trace.outcomes
    ]  # fmt: skip
    print_table(screen, "Truths about this prediction", outcomes, words=frozenset(OUTCOME_WORDS))
    if trace.truth is None:
        print_line(screen, "\nLabel: nobody has labelled this image yet")
        return
    print_fields(screen, "Label of this image", _fields(trace.truth))
    answers = [
        {"annotator": answer.annotator, "answer": answer.value or "-", "when": answer.updated_at,
         "source": answer.source, "number": str(answer.seq)}
        for answer in trace.truth.answers
    ]  # fmt: skip
    words = frozenset({"annotator", "answer", "when", "source"})
    print_table(screen, "The answers that it rests on", answers, words=words, limit=len(answers))


def _fields(value: Any) -> list[tuple[str, str]]:
    """The fields of a dataclass with a value, named in words."""
    return [
        (
            name.replace("_", " "),
            ", ".join(map(str, field)) if isinstance(field, list) else f"{field}",
        )
        for name, field in asdict(value).items()
        if name not in NOT_SHOWN and field not in (None, [])
    ]
