"""How right a model was in service, from truths that came later: by period, class and source."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from sqlalchemy import Engine

from core.intervals import Interval
from models.registry.releases import champion
from models.registry.versions import find_model
from models.watching import outcome_queries as queries
from models.watching.outcome_queries import OutcomeCounts
from models.watching.performance import Cell, ClassPerformance, Performance, performance
from tasks.report.console import NOTHING, Row, print_line, print_table
from tasks.scenes import share_of_scenes


@dataclass(frozen=True)
class PerformanceReport:
    """The figures of one model; None and empty where no truth judges it."""

    model: str | None
    counts: OutcomeCounts  # of all models
    whole: Performance | None
    periods: dict[str, Performance]  # by name, oldest first
    slices: dict[str, Performance]  # by source of the images, those with the most truths
    distinct: float = 1.0  # the share of the rows that intervals count: near-duplicates are one

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)


def load_performance(
    engine: Engine, model: str | None, *, period: str, last: int
) -> PerformanceReport:
    """The figures of a model, of the champion by default; at the same cost for any history."""
    version = champion(engine) if model is None else find_model(engine, model).version
    with engine.connect() as connection:
        counts = queries.outcome_counts(connection)
        if version is None:
            return PerformanceReport(None, counts, None, {}, {})
        by_period = queries.counts_by_period(connection, version, period, last=last)
        by_slice = queries.counts_by_slice(connection, version)
        distinct = share_of_scenes(connection, version)
        counted = queries.judged_counts(connection, version)

    def figures(cells: dict[Cell, int]) -> Performance | None:
        return performance(cells, distinct=distinct)

    return PerformanceReport(
        version,
        counts,
        figures(counted),
        {name: made for name, cells in by_period.items() if (made := figures(cells))},
        {name: made for name, cells in by_slice.items() if (made := figures(cells))},
        distinct,
    )


def show_performance(report: PerformanceReport, console: Console | None = None) -> None:
    """Print the figures, each with its interval and its number of rows."""
    screen = console or Console(highlight=False)
    print_line(screen, standing_sentence(report.counts))
    if report.whole is None:
        model = report.model or "No model is in service"
        print_line(screen, f"{model}: no truth judges it yet; `hone feedback FILE` takes truths in")
        return
    print_line(screen, f"{report.model} on served images whose truth was confirmed:")
    if report.distinct < 1:
        scenes = max(round(report.whole.rows * report.distinct), 1)
        print_line(screen, f"Near-duplicates among them say one thing: intervals count {scenes:,} "
                           f"of {report.whole.rows:,} truths")  # fmt: skip
    print_table(screen, "", [_row("all", report.whole)], words=frozenset({"of"}))
    print_table(
        screen,
        "By period",
        [_row(name, one) for name, one in reversed(report.periods.items())],
        words=frozenset({"of"}),
    )
    print_table(screen, "By class", [_class_row(one) for one in report.whole.classes],
                words=frozenset({"class"}))  # fmt: skip
    if list(report.slices) != [""]:
        rows = [_row(name or "no source", one) for name, one in report.slices.items()]
        print_table(screen, "By source", rows, words=frozenset({"of"}))


def standing_sentence(counts: OutcomeCounts) -> str:
    """How many truths there are, and what they are good for."""
    parts = [f"{counts.judging:,} confirmed", f"{counts.training:,} weak"]
    parts += [f"{counts.disputed:,} disputed"] if counts.disputed else []
    parts += [f"{counts.unknown_class:,} of no class of hone.toml"] if counts.unknown_class else []
    parts += [f"{counts.waiting:,} about predictions not known here"] if counts.waiting else []
    return f"Truths: {', '.join(parts)}"


def _row(name: str, one: Performance) -> Row:
    return {
        "of": name, "rows": f"{one.rows:,}", "accuracy": str(one.accuracy), "F1": str(one.f1),
        "false positives": _shown(one.false_positive_rate),
    }  # fmt: skip


def _class_row(one: ClassPerformance) -> Row:
    return {
        "class": one.name, "rows": f"{one.truths:,}", "precision": _shown(one.precision),
        "recall": _shown(one.recall), "F1": _shown(one.f1),
        "false positives": _shown(one.false_positive_rate),
    }  # fmt: skip


def _shown(interval: Interval | None) -> str:
    return NOTHING if interval is None else str(interval)
