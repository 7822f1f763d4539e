"""Reports on annotators and labels as tables, for a screen and for Prefect."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console

from labeling.quality.reports import (
    Agreement,
    AnnotatorFigures,
    AnnotatorReport,
    Confusions,
    PairAgreement,
    QualityReport,
)
from tasks.report.console import MAX_ROWS, NOTHING, Row, print_line, print_table

QUALITY = ["right on gold", "as the others", "weight of a vote"]
WORK = ["seconds", "fast", "prediction taken", "same when blind", "led by it"]
AGREEMENT = ["alpha", "samples", "in words"]
# Columns that wrap on a narrow screen; figures never do.
WORDS = frozenset({"annotator", "and", "class", "shows", "answered", "round", "in words",
                   "where and why", "refused", "column", "value"})  # fmt: skip
Measured = TypeVar("Measured", Agreement, PairAgreement)


def show_annotators(report: AnnotatorReport, console: Console | None = None) -> None:
    """Print who answered, how well, how fast and how independently; and what to look into."""
    screen = console or Console(highlight=False)
    if not report.annotators:
        screen.print("Nobody has answered anything yet.")
        return
    rows = annotator_rows(report)
    columns = ["annotator", "answers", "skips", *QUALITY]
    print_table(screen, "Annotators", rows, columns, words=WORDS, limit=len(rows))
    print_table(screen, "How they work", rows, ["annotator", *WORK], words=WORDS, limit=len(rows))
    if report.fast_under:
        limit = f"under {report.fast_under:.1f} s"
        print_line(screen, f"fast: {limit} (a quarter of the usual time, and 0.3 s at least)")
    print_table(screen, "Most frequent mistakes", _mistakes(report.confusions), words=WORDS)
    _print_remarks(screen, report.remarks)


def show_quality(report: QualityReport, console: Console | None = None) -> None:
    """Print how the labels stand, how far annotators agree, and what to look into."""
    screen = console or Console(highlight=False)
    for line in _summary(report):
        print_line(screen, line)
    print_table(screen, "Classes", _class_rows(report), words=WORDS)
    rounds = [{"round": row.name, **_agreement(row)} for row in report.agreement.rounds]
    print_table(screen, "Rounds", rounds[::-1], words=WORDS)
    pairs = [_pair(row) for row in _lowest(report.pairs, lambda row: row.kappa)]
    print_table(screen, "Pairs", pairs, words=WORDS)
    slices = [
        {"column": row.column, "value": row.value, "images": str(row.samples),
         "labels": str(row.labels), "in the audit": str(row.audit)}
        for row in report.slices
    ]  # fmt: skip
    print_table(screen, "Slices", slices, words=WORDS)
    refused = [
        {"refused": row.reason, "annotator": row.annotator or NOTHING,
         "where and why": row.detail or NOTHING}
        for row in report.refused
    ]  # fmt: skip
    print_table(screen, "Refused answers", refused, words=WORDS)
    _print_remarks(screen, report.remarks)


def annotator_rows(report: AnnotatorReport) -> list[Row]:
    """A row for everybody together and one for each annotator, in words and figures."""
    return [
        _annotator("everybody", report.everybody),
        *(_annotator(row.annotator, row) for row in report.annotators),
    ]


def agreement_rows(report: QualityReport) -> list[Row]:
    """A row for the whole, each class, each round and each pair, in words and figures."""
    parts = report.agreement
    alphas = [
        {"of": of, "name": row.name, "measure": "alpha", "value": _share(row.alpha),
         "samples": str(row.samples), "in words": row.interpretation}
        for of, rows in (("all", [parts.overall]), ("class", parts.classes),
                         ("round", parts.rounds))
        for row in rows
    ]  # fmt: skip
    kappas = [
        {"of": "pair", "name": f"{row.one}, {row.other}", "measure": "kappa",
         "value": _share(row.kappa), "samples": str(row.samples), "in words": row.interpretation}
        for row in report.pairs
    ]  # fmt: skip
    return alphas + kappas


def _annotator(name: str, row: AnnotatorFigures) -> Row:
    on_gold = _of(row.accuracy, row.judged)
    if row.judged:
        on_gold = f"{on_gold} ({row.accuracy_low:.2f}-{row.accuracy_high:.2f})"
    led = NOTHING
    if row.led is not None:
        led = f"{row.led:+.2f} ({row.led_low:+.2f}, {row.led_high:+.2f})"
    return {
        "annotator": name,
        "answers": str(row.answers),
        "skips": str(row.skips),
        "right on gold": on_gold,
        "as the others": _of(row.with_others, row.others),
        "weight of a vote": _share(row.weight),
        "seconds": NOTHING if row.seconds is None else f"{row.seconds:.1f}",
        "fast": NOTHING if row.fast is None else f"{row.fast:.0%}",
        "prediction taken": _of(row.accepted, row.shown),
        "same when blind": _of(row.agreed, row.blind),
        "led by it": led,
    }


def _mistakes(confusions: Confusions) -> list[Row]:
    """Which class each annotator took for which, most often first."""
    mistakes = [
        (times, sum(answered.values()), name, truth, value)
        for name, truths in confusions.items()
        for truth, answered in truths.items()
        for value, times in answered.items()
        if value != truth
    ]
    return [
        {"annotator": name, "shows": truth, "answered": value, "times": f"{times} of {total}"}
        for times, total, name, truth, value in sorted(
            mistakes, key=lambda row: (-row[0], *row[1:])
        )
    ]


def _summary(report: QualityReport) -> list[str]:
    labels, assignments = report.labels, report.assignments
    settled = ", ".join(f"{count} by {name}" for name, count in labels.methods.items())
    refused = ", ".join(f"{count} {reason}" for reason, count in report.refused_answers.items())
    return [
        f"labels       {labels.in_force}" + (f": {settled}" if settled else ""),
        f"doubtful     {labels.under_threshold} under a trust of {labels.threshold:.2f}",
        f"assignments  {assignments.sent} sent, {assignments.blind} of them blind, "
        f"{assignments.overlap} for several annotators; {report.gold} gold samples",
        f"asked again  {assignments.asked_again}; disputed {assignments.disputed}, waiting for a "
        f"final word {assignments.waiting_for_a_final_word}",
        f"refused      {refused or 'none'}",
    ]


def _class_rows(report: QualityReport) -> list[Row]:
    counts, total = report.labels.balance, report.labels.in_force
    return [
        {"class": row.name, "labels": str(counts.get(row.name, 0)),
         "share": f"{counts.get(row.name, 0) / total:.0%}" if total else NOTHING,
         **_agreement(row)}
        for row in _lowest(report.agreement.classes, lambda row: row.alpha)
    ]  # fmt: skip


def _pair(row: PairAgreement) -> Row:
    return {
        "annotator": row.one,
        "and": row.other,
        "kappa": _share(row.kappa),
        "same answer": _of(row.agreed, row.samples),
        "in words": row.interpretation,
    }


def _agreement(row: Agreement) -> Row:
    values = _share(row.alpha), str(row.samples), row.interpretation
    return dict(zip(AGREEMENT, values, strict=True))


def _lowest(
    rows: Sequence[Measured], measure: Callable[[Measured], float | None]
) -> list[Measured]:
    """The rows in their order if they fit, else the lowest first; missing ones come last."""
    if len(rows) <= MAX_ROWS:
        return list(rows)
    return sorted(rows, key=lambda row: (measure(row) is None, measure(row) or 0.0))


def _print_remarks(screen: Console, remarks: Sequence[str]) -> None:
    if remarks:
        print_line(screen, "")
    for line in remarks:
        print_line(screen, f"* {line}")


def _of(share: float | None, rows: int) -> str:
    return NOTHING if share is None else f"{share:.2f} of {rows}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
