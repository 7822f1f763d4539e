"""Labels: what more of them would bring, and how good they are."""

import numpy as np

from core.intervals import mean_interval
from core.text import counted
from labeling.budget.learning_curve import CurvePoint
from labeling.ledger.page_queries import Share
from tasks.report.budget_record import BudgetRecord
from tasks.report.html.charts import (
    Point,
    band,
    chart,
    dots,
    intervals,
    label_axis,
    number_axis,
)
from tasks.report.html.elements import Html, element, joined, sentence, table
from tasks.report.html.gather import Facts, LabelQuality
from tasks.report.html.words import bounded, minute, missing, section

WIDTHS = 1.96  # standard deviations of a point's interval


def labels_section(facts: Facts) -> Html:
    """The learning curve with its advice, the snapshots, and the quality of answers in brief."""
    return section(
        "labels", "Labels", _budget(facts.budget), _snapshots(facts), _quality(facts.quality)
    )


def _budget(record: BudgetRecord | None) -> Html:
    heading = element("h3", "What more labels would bring")
    if record is None:
        why = "No learning curve is on record: `hone budget` computes one, as does each training."
        return joined([heading, missing(why)])
    about = (
        f"{record.advice}: {record.reason} (by {counted(record.models, 'model')} and "
        f"{counted(record.audit_rows, 'audit image')} of the pool, with the {record.labels:,} "
        f"labels of {record.snapshot}; made {minute(record.at)} UTC)"
    )
    lines = [
        (f"{more:,.0f}", f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        for more, gain, low, high in record.ahead
    ]
    head = ("more labels", "points of accuracy, 95 %")
    return joined(
        [
            heading,
            element("p", sentence(about)),
            element("div", _curve(record), class_="charts"),
            table(head, lines, caption="Forecast", figures=head),
        ]
    )


def _curve(record: BudgetRecord) -> Html:
    points = [Point(*row) for row in record.curve]
    models = [_point(one) for one in record.points if one.model]
    heads = [_point(one) for one in record.points if not one.model]
    last = int(points[-1].at)
    across = label_axis(int(points[0].at), last, [record.labels])
    lowest = min(one.low for one in points + models)
    up = number_axis(max(0.0, lowest), 1.0, percent=True)
    now = next((one for one in reversed(points) if one.at <= record.labels), points[0])
    return chart(
        across, up,
        [band(across, up, points), dots(across, up, heads, "faint"), intervals(across, up, models)],
        title="Accuracy by number of labels (log scale)",
        summary=f"{now.value:.1%} with {record.labels:,} labels, a curve up to {last:,}; blue dots "
        "are models, grey ones a head on fewer labels",
    )  # fmt: skip


def _point(one: CurvePoint) -> Point:
    half = WIDTHS * one.deviation
    low, high = max(0.0, one.accuracy - half), min(1.0, one.accuracy + half)
    return Point(max(1, one.labels), one.accuracy, low, high)


def _snapshots(facts: Facts) -> Html:
    if not facts.snapshots:
        return missing("No snapshot yet: `hone collect` freezes the labels that annotators gave.")
    lines = [
        (one.name, f"{one.rows:,}", minute(one.created_at),
         "yes" if one.name in facts.status.trained_snapshots else "no")
        for one in facts.snapshots[:8]
    ]  # fmt: skip
    head = ("snapshot", "rows", "frozen (UTC)", "trained on")
    return table(head, lines, caption="Snapshots", figures=["rows"])


def _quality(quality: LabelQuality) -> Html:
    sent = quality.assignments
    refused = sum(quality.refused.values())
    lines = [
        ("answers to images of known class that are right", _share(quality.gold)),
        ("images on which several annotators agree", _share(quality.agreed)),
        ("assignments sent", f"{sent.sent:,}"),
        ("of these shown without a pre-annotation", f"{sent.blind:,}"),
        ("asked again", f"{sent.asked_again:,}"),
        ("disputed", f"{sent.disputed:,}, {sent.waiting_for_a_final_word:,} wait for a final word"),
        ("answers refused", f"{refused:,}"),
    ]
    head = ("what", "how much")
    note = missing("`hone quality` and `hone annotators` show the rest.")
    return joined(
        [
            element("h3", "Quality in brief"),
            table(head, lines, caption="Answers", figures=["how much"]),
            note,
        ]
    )


def _share(share: Share) -> str:
    if not share.whole:
        return "none to measure on"
    wrong = share.whole - share.part
    return f"{bounded(mean_interval(np.repeat([1.0, 0.0], [share.part, wrong])))}, {share.whole:,}"
